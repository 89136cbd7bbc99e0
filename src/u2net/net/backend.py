"""torch as one of the runtimes of a `u2net.inference.session.Session`."""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray

from u2net.models.transform import Backend
from u2net.net.model import U2Net


def torch_backend(network: U2Net) -> Backend:
    """The live network as a backend: on its own device, in its own type, with the weights that it holds when called.

    It is in evaluation mode during a call, and each of its modules in its former mode afterwards. Threads take turns.
    """
    lock = threading.Lock()

    @torch.inference_mode()
    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        weight = next(network.parameters())
        with lock:
            training = [module for module in network.modules() if module.training]
            network.eval()
            try:
                output = network.saliency(torch.from_numpy(batch).to(weight.device, weight.dtype))
            finally:
                for module in training:
                    module.training = True
        maps: NDArray[np.float32] = output.float().cpu().numpy()
        return maps

    return backend

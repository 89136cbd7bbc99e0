"""torch as one of the runtimes of a `u2net.session.Session`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from u2net.net.model import U2Net
from u2net.session import Backend


def torch_backend(network: U2Net) -> Backend:
    """The live network as a backend: on its own device, with the weights that it holds when called.

    The network is put into evaluation mode for each call and left in the mode in which it was found.
    """

    @torch.inference_mode()
    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        device = next(network.parameters()).device
        was_training = network.training
        network.eval()
        try:
            output: NDArray[np.float32] = network.saliency(torch.from_numpy(batch).to(device)).float().cpu().numpy()
        finally:
            network.train(was_training)
        return output

    return backend

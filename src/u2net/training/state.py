"""Everything that the next step depends on, but for the data."""

from __future__ import annotations

import torch
from torch import Tensor

from u2net.errors import InvalidModel
from u2net.net.model import U2Net
from u2net.training.config import TrainConfig
from u2net.training.optimizer import Average, freeze, new_optimizer
from u2net.training.parallel import World
from u2net.training.snapshot import (
    Snapshot,
    flatten,
    load_optimizer_tensors,
    optimizer_tensors,
    unflatten,
)


class State:
    """Network, its average, optimiser, and how far the run has come."""

    def __init__(self, network: U2Net, config: TrainConfig, world: World) -> None:
        freeze(network, config.freeze)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.network = network.to(world.device, memory_format=layout)  # type: ignore[call-overload]
        self.average = Average(self.network, config.ema)
        self.optimizer = new_optimizer(self.network, config)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=config.precision == "fp16")
        self.step = 0
        """Steps that are done."""
        self.best: float | None = None
        """Best score of a validation so far, the higher the better."""
        self.num_stale = 0
        """Validations since then."""
        self.validated = 0
        """Step of the last validation."""
        self.num_skipped = 0
        """Steps in a row that were left out as not finite."""
        self.num_processes = world.size
        """Processes that train together; others would take other batches."""
        self.seconds = 0.0
        """Time that the steps and validations have taken."""

    def snapshot(self) -> Snapshot:
        """What `restore` takes."""
        tensors = flatten(
            {
                "network": self.network.state_dict(),
                "average": self.average.network.state_dict(),
                "optimizer": optimizer_tensors(self.optimizer),
                "random": self._random(),
            }
        )
        facts = {name: getattr(self, name) for name in _FACTS} | {"scaler": self.scaler.state_dict()}
        return Snapshot(self.step, tensors, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Become what a snapshot holds. Raises InvalidModel for one of another network or version."""
        try:
            self.network.load_state_dict(unflatten(snapshot.tensors, "network"))
            self.average.network.load_state_dict(unflatten(snapshot.tensors, "average"))
            load_optimizer_tensors(self.optimizer, unflatten(snapshot.tensors, "optimizer"))
            self.scaler.load_state_dict(snapshot.facts["scaler"])
            for name in _FACTS:
                setattr(self, name, snapshot.facts[name])
        except (KeyError, IndexError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise InvalidModel(f"checkpoint {snapshot.step} is of another network or version: {first}") from None
        random = unflatten(snapshot.tensors, "random")
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])
        self.step = snapshot.step

    def _random(self) -> dict[str, Tensor]:
        random = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            random["cuda"] = torch.cuda.get_rng_state()
        return random


_FACTS = ("num_processes", "best", "num_stale", "validated", "num_skipped", "seconds")

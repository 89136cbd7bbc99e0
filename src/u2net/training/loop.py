"""The training loop: steps, validations by the `evaluate` that users run, snapshots."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import nn

from u2net.errors import ConfigMismatch, NotEnoughRoom, TrainingDiverged, TrainingInterrupted, U2NetError
from u2net.evaluation.evaluate import as_predict
from u2net.evaluation.report import save_examples, save_text
from u2net.inference.session import Session
from u2net.net.backend import torch_backend
from u2net.net.weight_files import save_checkpoint
from u2net.system.process import Signals, kept_heaps
from u2net.training.config import TrainConfig
from u2net.training.examples import Progress
from u2net.training.inventory import note_data
from u2net.training.loader import Batch, Data, open_data
from u2net.training.norms import has_folded_norms, leave_out_norms, lower_levels, reopen_norms
from u2net.training.objective import Normalise, Objective, find_precision, new_network
from u2net.training.optimizer import learning_rate, set_training
from u2net.training.parallel import Later, World, evaluate_together, joined, with_shared_gradients
from u2net.training.run_folder import WEIGHTS, Record, Run, TrainResult
from u2net.training.snapshot import State, listed, load_newest, save_snapshot, set_aside

_NUM_NORM_BATCHES = 8

_log = logging.getLogger(__name__)

Watch = Callable[[int, dict[str, Any]], object]
"""Called after each step and validation, by one process, with the total of steps and the row of metrics.jsonl."""


def train(
    config: TrainConfig, run: str | PathLike[str], *, watch: Watch = lambda *_: None, progress: Progress = iter
) -> TrainResult:
    """Train as configured in the folder `run`; called again, continue an interrupted run.

    On the CPU a run that was interrupted anywhere ends in the same bits as one that was not, with the same number of
    threads and the same versions. Processes started by torchrun train together. docs/train.md lists what a run writes.
    `progress` wraps the range of pairs that are checked before the first step, as tqdm does.

    Raises InvalidDataset (BadPictures with each name, unless `on_bad` is "skip"), InvalidModel, ConfigMismatch if the
    run was started with another configuration, TrainingDiverged if the loss is not finite, TrainingInterrupted after
    SIGINT or SIGTERM, ValueError for what the device or the network cannot do, OSError if the disk is full.
    """
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        world = stack.enter_context(joined(config.device))
        if world.device.type == "cpu":
            stack.enter_context(kept_heaps())
        place = Run(Path(run))
        if world.leads:
            stack.enter_context(place.alone())
        config = replace(config, precision=find_precision(config.precision, world.device))
        place.check(config)
        if config.deterministic:
            stack.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else torch refuses matrix products on a GPU
            torch.use_deterministic_algorithms(True)
        training = _Training(config, place, world, signals, watch, progress)
        if world.leads:
            place.save_config(config)
            news = note_data(place.inventory, training.data, partial(training.looked_at, progress))
            if news and training.state.step:
                _log.warning("the data is not as this run left it: %s; it goes on with what is there now", news)
            training.record = stack.enter_context(Record(place.folder, training.state.step))
        return training.run()


class _Reading(NamedTuple):
    """What a step measured."""

    step: int
    values: Later
    """Loss, cross-entropy of the fused map, norm of the gradient."""
    lr: float
    pictures: list[str]
    """Names of its pictures in this process."""
    began: float


class _Training:
    """One run, from its first step or from its newest snapshot."""

    def __init__(
        self, config: TrainConfig, place: Run, world: World, signals: Signals, watch: Watch, progress: Progress
    ) -> None:
        self.config, self.place, self.world, self.signals, self.watch = config, place, world, signals, watch
        self.record: Record | None = None
        """In the process that leads."""
        snapshot = load_newest(place.snapshots, _log.warning if world.leads else _log.debug)
        if snapshot is None and listed(place.snapshots):
            raise U2NetError(f"no checkpoint of {place.folder} is sound: take {place.snapshots} away to begin anew")
        network, transform = new_network(config if snapshot is None else place.without_init(config, snapshot.step))
        self.data: Data = open_data(config, transform, place.cache, world, partial(self.looked_at, progress))
        self.card = place.new_card(config, transform)
        is_folded = config.init is not None and has_folded_norms(network)
        if is_folded and snapshot is None:
            lower_levels(network)
            if not config.freeze_norm:
                batches = islice(self.data.batches(0), _NUM_NORM_BATCHES)
                reopen_norms(network, map(Normalise(transform), (batch.images.cpu() for batch in batches)))
                network.load_state_dict(world.everyone(network.state_dict())[0])  # each process saw other pictures
        if is_folded and config.freeze_norm:
            leave_out_norms(network)
        self.state = State(network, config, world)
        if snapshot is not None:
            num_processes = snapshot.facts.get("num_processes")
            if num_processes != world.size:
                raise ConfigMismatch(str(place.folder), [f"processes: {num_processes} -> {world.size}"])
            self.state.restore(snapshot)
        if len(set(world.everyone(self.state.step))) > 1:
            raise U2NetError(f"{place.folder} is not the same folder for all processes: share it between the machines")
        if world.leads:
            set_aside(place.snapshots, self.state.step + 1)
        self.saved = self.state.step
        self.predict, self.name = as_predict(Session(torch_backend(self.state.average.network), self.card))
        self.objective: nn.Module = Objective(network, config, transform).to(world.device)
        if world.size > 1:
            # Without the fused map's loss some weights have no gradient, and DDP must look for them.
            self.objective = with_shared_gradients(self.objective, some_unused=not config.side_weights[0])
        if config.compile:
            self.objective = torch.compile(self.objective)  # type: ignore[assignment]
        self.global_batch = config.batch_size * config.accumulate * world.size
        num_steps = math.ceil(config.epochs * len(self.data.order) / self.global_batch)
        self.num_steps = min(num_steps, config.max_steps or num_steps)
        self.readings: deque[_Reading] = deque()

    def looked_at(self, progress: Progress, pairs: range) -> Iterator[int]:
        """The pairs or files that are checked before the first step; a signal stops this at once."""
        for pair in progress(pairs):
            if self.signals.received:
                raise TrainingInterrupted(self.signals.received)
            yield pair

    def run(self) -> TrainResult:
        """Train to the end, or until a signal or too many validations without a better result."""
        config, state = self.config, self.state
        set_training(state.network, config)
        batches = self.data.batches(state.step)
        # What a GPU measured in one step is read during the next, so that it need not wait.
        lag = 1 if self.world.device.type == "cuda" else 0
        if state.step and self._validates():
            self._validate()  # the run was interrupted before it could
        signum = self.world.highest(self.signals.received)
        while state.step < self.num_steps and not signum and not self._is_stale():
            began = time.perf_counter()
            try:
                self._step(batches)
            except NotEnoughRoom:
                if not self.signals.received:
                    raise
                break  # some schedulers signal workers too; nothing has changed since the last step
            state.step += 1
            self._report(lag)
            state.seconds += time.perf_counter() - began
            if self._validates():
                self._report()
                self._validate()
            signum = self.world.highest(self.signals.received)
            if self._is_stale() or state.step == self.num_steps or state.step % config.checkpoint_every == 0:
                self._report()
                self._save()
            if state.step % config.sample_every == 0:
                self._draw()
        signum = self.world.highest(self.signals.received)
        if signum:
            self._report()
            self._save()
            raise TrainingInterrupted(signum, state.step)
        return self._finish()

    def _step(self, batches: Iterator[Batch]) -> None:
        """Take one step along the gradient of `accumulate` batches."""
        config, state = self.config, self.state
        began, pictures, sums = time.perf_counter(), [], torch.zeros(2, device=self.world.device)
        lr = learning_rate(config, state.step, self.num_steps)
        for group in state.optimizer.param_groups:
            group["lr"] = lr
        for micro in range(config.accumulate):
            batch = next(batches)
            images, masks = (part.to(self.world.device, non_blocking=True) for part in (batch.images, batch.masks))
            pictures += [self.data.name(key) for key in batch.keys]
            is_last = micro == config.accumulate - 1
            with nullcontext() if is_last else getattr(self.objective, "no_sync", nullcontext)():
                loss = self.objective(images, masks)
                state.scaler.scale(loss.total / config.accumulate).backward()
            sums += torch.stack((loss.total.detach(), loss.fused.detach()))
        state.scaler.unscale_(state.optimizer)
        parameters = [parameter for parameter in state.network.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if config.clip_norm:
            nn.utils.clip_grads_with_norm_(parameters, config.clip_norm, norm)
        values = torch.cat((sums / config.accumulate, norm[None]))
        self.world.mean_([values])
        state.scaler.step(state.optimizer)
        state.average.update(state.step)
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        self.readings.append(_Reading(state.step + 1, Later(values), lr, pictures, began))

    def _report(self, lag: int = 0) -> None:
        """Write the rows of finished steps, except for the newest `lag`. Raises TrainingDiverged."""
        while len(self.readings) > lag:
            reading = self.readings.popleft()
            loss, fused, norm = reading.values.read()
            # fp16 finds its scale by trial: the optimiser skips gradients that overflow, which is no fault.
            if not math.isfinite(loss) or not (math.isfinite(norm) or self.config.precision == "fp16"):
                self._diverged(reading, loss, norm)
            row: dict[str, Any] = {"step": reading.step, "epoch": round(self._num_epochs(reading.step), 4)}
            row |= {"loss": loss, "fused": fused, "norm": norm if math.isfinite(norm) else None, "lr": reading.lr}
            row["images_per_s"] = round(self.global_batch / (time.perf_counter() - reading.began), 2)
            self._write(row)

    def _diverged(self, reading: _Reading, loss: float, norm: float) -> NoReturn:
        """Raise TrainingDiverged, with the pictures of all processes."""
        named = [name for part in self.world.everyone(reading.pictures) for name in part]
        if self.world.leads:
            facts = {"step": reading.step, "loss": str(loss), "norm": str(norm), "lr": reading.lr, "pictures": named}
            save_text(json.dumps(facts, indent=1), self.place.folder / "diverged.json")
        what = "the loss" if not math.isfinite(loss) else "the gradient"
        raise TrainingDiverged(f"{what} of step {reading.step} is not finite; its pictures: {', '.join(named)}")

    def _validates(self) -> bool:
        """Whether a validation is due now."""
        step, every = self.state.step, self.config.validate_every
        if not self.data.validation or self.state.validated == step:
            return False
        is_due = step % every == 0 if every else int(self._num_epochs(step)) > int(self._num_epochs(step - 1))
        return is_due or step >= self.num_steps

    def _num_epochs(self, step: int) -> float:
        """Epochs that are done after this many steps."""
        return step * self.global_batch / len(self.data.order)

    def _validate(self) -> None:
        """Score the average, and keep it if it is the best so far. After a signal this is left for the resumed run."""
        state = self.state
        self.world.share_norms(state.average.network)
        evaluations = evaluate_together(
            self.data.validation, self.predict, self.name, self.config.ignore_index, self.world, self.signals
        )
        if evaluations is None:
            return
        scores = evaluations[0].scores
        by = self.config.best_by if self.config.num_classes == 1 else "mIoU"
        value = -scores[by] if by == "MAE" else scores[by]
        state.validated = state.step
        state.num_stale += 1
        if state.best is None or value > state.best:
            state.best, state.num_stale = value, 0
            if self.world.leads:
                told = {f"{e.dataset} {name}": round(score, 4) for e in evaluations for name, score in e.scores.items()}
                self.place.save_best(state.average.network, replace(self.card, scores=told))
        self._write({"step": state.step, "validation": {e.dataset: e.scores for e in evaluations}})

    def _write(self, row: dict[str, Any]) -> None:
        """Record a row and pass it to `watch`, in the process that leads."""
        if self.record:
            self.record.write(row)
            self.watch(self.num_steps, row)

    def _is_stale(self) -> bool:
        return 0 < self.config.patience <= self.state.num_stale

    def _save(self) -> None:
        """Write a snapshot, together with weights that can be used at once."""
        state = self.state
        if self.saved == state.step:
            return
        self.world.share_norms(state.network)
        self.world.share_norms(state.average.network)
        if self.world.leads:
            save_snapshot(
                self.place.snapshots,
                state.snapshot(),
                also=lambda folder: save_checkpoint(state.average.network, folder / WEIGHTS, self.card),
                keep=self.config.keep,
            )
        self.saved = state.step

    def _draw(self) -> None:
        """Update the curves, and write a sheet of a few pictures, their masks and predictions, where this leads."""
        if self.record:
            self.record.draw()
            self.place.samples.mkdir(exist_ok=True)
            sheet = self.place.samples / f"step-{self.state.step:08d}.jpg"
            save_examples([(example, example.name) for example in self.data.samples], self.predict, sheet)

    def _finish(self) -> TrainResult:
        """Write what a finished run leaves."""
        scores: dict[str, float] = {}
        if self.world.leads:
            if not self.data.validation:
                self.place.save_best(self.state.average.network, self.card)
            self._draw()
            scores = self.place.finish(self.config, self.state.step, self.state.seconds).scores
        scores = self.world.everyone(scores)[0]
        return TrainResult(self.state.step, scores, self.place.best, self.place.model)

"""Trains in processes that are killed at given points, one after the other, then to the end: run by test_survival.py.

Arguments: a run's folder, its configuration as JSON, and the points as JSON: ["step", n] after the nth step of the
process, ["save", n] when a snapshot has the nth file on the disk, ["validate", n] before the nth picture of a
validation, ["time", s] after s seconds.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import torch

from u2net.training import TrainConfig, parallel, snapshot
from u2net.training.loop import train


def main() -> None:
    folder, config, points = Path(sys.argv[1]), TrainConfig.from_json(sys.argv[2]), json.loads(sys.argv[3])
    for point in points:
        pid = os.fork()  # nothing of torch's threads is running yet
        if pid == 0:
            _train(config, folder, point)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        assert status in (0, signal.SIGKILL), status
        sys.stdout.write(f"{point[0]} {'killed' if status else 'ended'}\n")
    _train(config, folder, None)


def _train(config: TrainConfig, folder: Path, point: list | None) -> None:
    torch.set_num_threads(1)
    kind, number = point or ("none", 0)
    count = _Countdown(number if kind != "time" else 0)
    watch = count if kind == "step" else lambda *_: None
    if kind == "save":
        snapshot.sync = count.before(snapshot.sync)
    elif kind == "validate":
        parallel._until_signal = count.during(parallel._until_signal)
    elif kind == "time":
        threading.Timer(number, _die).start()
    train(config, folder, watch=watch)


class _Countdown:
    """Kills the process when called for the nth time."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            _die()

    def before(self, function):
        def counted(*arguments):
            self()
            return function(*arguments)

        return counted

    def during(self, generator):
        def counted(*arguments):
            for item in generator(*arguments):
                self()
                yield item

        return counted


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

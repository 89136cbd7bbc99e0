"""Trains as one of several processes, started by torchrun for test_parallel.py, and leaves what it was at the end.

Arguments: a run's folder, its configuration as JSON, and as JSON what is to happen: "signal" or "fail", [rank, step].
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from training.conftest import TINY
from u2net.errors import TrainingInterrupted, U2NetError
from u2net.net.checkpoint import digest
from u2net.net.model import VARIANTS
from u2net.training import TrainConfig, loop


def main() -> None:
    run, config, events = Path(sys.argv[1]), TrainConfig.from_json(sys.argv[2]), json.loads(sys.argv[3])
    VARIANTS["u2netp"] = TINY
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    pictures, trainings = [], []
    step = loop._Training._step

    def noted(self, batches) -> None:
        step(self, batches)
        pictures.extend(self.readings[-1].pictures)
        trainings[:] = [self]
        here = [rank, self.state.step + 1]
        if events.get("signal") == here:
            os.kill(os.getpid(), signal.SIGTERM)
        if events.get("fail") == here:
            raise OSError(28, "No space left on device")

    loop._Training._step = noted
    code = 0
    try:
        loop.train(config, run)
    except TrainingInterrupted as error:
        code = 128 + error.signum
    except (U2NetError, OSError) as error:
        sys.stderr.write(f"rank {rank}: {' '.join(str(error).split())}\n")
        code = 1
    if trainings:
        state = trainings[0].state
        left = {
            "step": state.step,
            "pictures": pictures,
            "network": digest(dict(state.network.named_parameters())),
            "average": digest(dict(state.average.network.named_parameters())),
        }
        (run.parent / f"rank-{rank}.json").write_text(json.dumps(left))
    sys.exit(code)


if __name__ == "__main__":
    main()

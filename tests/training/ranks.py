"""Trains as one of several processes for test_parallel.py, and leaves what it was at the end.

Started by torchrun, it is one of those processes. Started alone, it loads torch once and divides into two of them, with
all that torchrun would have told them: a fraction of the time.

Arguments: a run's folder, its configuration as JSON, and as JSON what is to happen: "signal" or "fail", [rank, step].
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch._dynamo  # by the optimiser in any case; so once for both
from torch.distributed import TCPStore

from training.conftest import TINY
from u2net.errors import TrainingInterrupted, U2NetError
from u2net.net.checkpoint import digest
from u2net.net.model import VARIANTS
from u2net.training import TrainConfig, loop, run_folder


def divide() -> int:
    """Be two processes that train together; returns 0 if both ended well."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    os.environ.update(meeting, WORLD_SIZE="2")
    pids = []
    for rank in ("0", "1"):
        pid = os.fork()  # nothing of torch's threads is running yet
        if pid == 0:
            os.environ.update(RANK=rank, LOCAL_RANK=rank)
            os._exit(main())  # the store ends with its own process
        pids.append(pid)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in pids)


def main() -> int:
    run, config, events = Path(sys.argv[1]), TrainConfig.from_json(sys.argv[2]), json.loads(sys.argv[3])
    VARIANTS["u2netp"] = TINY
    run_folder.export_onnx = lambda _network, path, _card: path.write_bytes(b"")
    run_folder.save_curves = loop.save_examples = lambda *_: None
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
    return code


if __name__ == "__main__":
    sys.exit(main() if "RANK" in os.environ else divide())

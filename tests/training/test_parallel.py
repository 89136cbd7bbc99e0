import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from needs import needs_fork, needs_proc, needs_signals

from training.pairs import write_pairs
from u2net.training import TrainConfig
from u2net.training.loop import train
from u2net.training.run_folder import read_rows
from u2net.training.snapshot import load_newest

SCRIPT = str(Path(__file__).with_name("ranks.py"))
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def _launch(config: TrainConfig, run: Path, launch: list[str] = LAUNCH, **events) -> subprocess.Popen:
    """Two processes that train together, and their launcher."""
    run.parent.mkdir(exist_ok=True)
    command = [*launch, SCRIPT, str(run), config.to_json(), json.dumps(events)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def _trained(config: TrainConfig, run: Path, launch: list[str] = LAUNCH, **events) -> tuple[int, str, list[dict]]:
    """The launcher's exit code, what was told, and what each of the processes left."""
    with _launch(config, run, launch, **events) as launcher:
        _, told = launcher.communicate(timeout=300)
    left = [run.parent / f"rank-{rank}.json" for rank in (0, 1)]
    return launcher.returncode, told, [json.loads(path.read_text()) for path in left if path.exists()]


def _losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_rows(run / "metrics.jsonl") if "loss" in row]


@pytest.mark.usefixtures("lean")
@needs_fork
def test_two_processes_train_as_one_with_batches_of_twice_the_size(configured, tmp_path):
    frozen = {"freeze_norm": True, "max_steps": 6, "ema": 0.5, "lr": 1e-4, "clip_norm": 1.0, "validate_every": 3}
    config, run = configured(batch_size=1, **frozen), tmp_path / "two" / "run"
    code, told, (first, second) = _trained(config, run, [sys.executable])
    assert code == 0, told
    assert (first["network"], first["average"]) == (second["network"], second["average"])
    assert Counter(first["pictures"] + second["pictures"]) == Counter(2 * [f"set/picture-0{i}" for i in _trained_on()])

    train(configured(batch_size=2, **frozen), tmp_path / "one" / "run")
    np.testing.assert_allclose(_losses(tmp_path / "two" / "run"), _losses(tmp_path / "one" / "run"), rtol=1e-5)
    np.testing.assert_allclose(_maes(tmp_path / "two" / "run"), _maes(tmp_path / "one" / "run"), atol=1e-3)


def _maes(run: Path) -> list[float]:
    rows = read_rows(run / "metrics.jsonl")
    return [row["validation"]["holdout"]["MAE"] for row in rows if "validation" in row]


def _trained_on() -> list[int]:
    """Numbers of the six pictures of eight that are not held out: those with the highest digests."""
    return sorted(sorted(range(8), key=lambda i: sha256(f"picture-0{i}".encode()).digest())[2:])


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@needs_signals
def test_a_signal_to_one_stops_both_at_the_same_step_and_they_go_on(configured, tmp_path, rank):
    config = configured(max_steps=6, batch_size=1, freeze_norm=True)
    code, told, (first, second) = _trained(config, tmp_path / "a" / "run", signal=[rank, 3])
    assert code != 0
    assert first["step"] == second["step"] == 3, told
    assert load_newest(tmp_path / "a" / "run" / "checkpoints", pytest.fail).step == 3
    code, told, (first, second) = _trained(config, tmp_path / "a" / "run")
    assert code == 0, told
    assert first["network"] == second["network"]
    _trained(config, tmp_path / "b" / "run")
    assert _losses(tmp_path / "a" / "run") == _losses(tmp_path / "b" / "run")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("to_all", [False, True])
@needs_proc
def test_a_signal_to_the_launcher_stops_both_with_a_snapshot(configured, tmp_path, number, to_all):
    run = tmp_path / "a" / "run"
    with _launch(configured(max_steps=100_000, batch_size=2), run) as launcher:
        while launcher.poll() is None and len(_losses(run)) < 3:
            time.sleep(0.05)
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        for pid in children if to_all and number == signal.SIGTERM else ():
            os.kill(int(pid), number)
        launcher.send_signal(number)
        launcher.communicate(timeout=300)
    left = [json.loads((run.parent / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    step = load_newest(run / "checkpoints", pytest.fail).step
    assert [one["step"] for one in left] == [step, step]
    assert read_rows(run / "metrics.jsonl")[-1]["step"] == step


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_when_one_fails_the_other_ends_too_and_says_why(configured, tmp_path, rank):
    code, told, _ = _trained(configured(max_steps=50, batch_size=2), tmp_path / "a" / "run", fail=[rank, 2])
    assert code != 0
    assert f"rank {rank}: [Errno 28] No space left on device" in told
    others = [line for line in told.splitlines() if line.startswith(f"rank {1 - rank}: ")]
    assert all("stops, since another one has" in line for line in others)


@pytest.mark.slow
def test_pairs_that_cannot_be_used_end_both(configured, root, tmp_path):
    (root / "images" / "picture-03.png").write_bytes(b"no picture")
    code, told, _ = _trained(configured(batch_size=2), tmp_path / "a" / "run")
    assert code != 0
    assert "rank 0: 1 pictures cannot be used: set/picture-03" in told


@pytest.mark.slow
def test_the_side_outputs_alone_can_be_trained_together(configured, tmp_path):
    config = configured(max_steps=3, batch_size=2, side_weights=(0.0,) + (1.0,) * 6)
    code, told, (first, second) = _trained(config, tmp_path / "a" / "run")
    assert code == 0, told
    assert first["network"] == second["network"]


@pytest.mark.slow
def test_different_folders_are_noticed(configured, tmp_path, monkeypatch):
    config = configured(max_steps=2, checkpoint_every=1, batch_size=2)
    code, told, _ = _trained(config, tmp_path / "a" / "run")
    assert code == 0, told
    script = Path(SCRIPT).read_text().replace("Path(sys.argv[1])", "Path(sys.argv[1] + os.environ['RANK'])")
    (tmp_path / "apart.py").write_text(script)
    (tmp_path / "a" / "run").rename(tmp_path / "a" / "run0")
    monkeypatch.setitem(globals(), "SCRIPT", str(tmp_path / "apart.py"))
    code, told, _ = _trained(config, tmp_path / "a" / "run")
    assert code != 0
    assert "is not the same folder for all processes" in told


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["empty", "config"])
def test_the_command_line_speaks_once_and_ends(tmp_path, fault):
    root, run = write_pairs(tmp_path / "set"), tmp_path / "run"
    if fault == "empty":
        root = tmp_path / "nothing"
        root.mkdir()
    options = ["--size=40", "--crop=32", "--workers=0", "--device=cpu", "--preset=paper"]
    if fault == "config":
        run.mkdir()
        (run / "config.json").write_text(TrainConfig(data=("elsewhere",)).to_json())
    command = [*LAUNCH, "-m", "u2net", "train", str(run), str(root), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert done.returncode != 0
    ours = [line for line in done.stderr.splitlines() if line.startswith("u2net: ")]
    assert 1 <= len(ours) <= 2  # each process that finds the fault by itself has a line


@pytest.mark.slow
def test_the_command_line_trains_on_two_processes(tmp_path):
    root, run = write_pairs(tmp_path / "set"), tmp_path / "run"
    options = [
        "--size=40",
        "--crop=32",
        "--workers=0",
        "--device=cpu",
        "--preset=paper",
        "--max-steps=2",
        "--holdout=0.25",
    ]
    command = [*LAUNCH, "-m", "u2net", "train", str(run), str(root), "--batch-size=2", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained 2 steps") == 1
    assert (run / "model.onnx").is_file()


@pytest.mark.slow
def test_two_launchers_that_meet_train_together_as_two_hosts_do(tmp_path):
    root, run = write_pairs(tmp_path / "set"), tmp_path / "run"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
    meeting = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={endpoint}"]
    options = ["--size=40", "--crop=32", "--workers=0", "--device=cpu", "--preset=paper", "--max-steps=2"]
    task = ["-m", "u2net", "train", str(run), str(root), "--batch-size=2", "--holdout=0.25", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    hosts = [
        subprocess.Popen([*LAUNCH[:3], *meeting, f"--node-rank={rank}", *task], **pipes)  # each launcher is a host
        for rank in (0, 1)
    ]
    told = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], told
    assert sum(stdout.count("trained 2 steps") for stdout, _ in told) == 1
    assert (run / "model.onnx").is_file()

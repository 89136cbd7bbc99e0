import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from needs import needs_signals

from training.pairs import write_pairs
from u2net.errors import TrainingInterrupted
from u2net.net.weight_files import load_checkpoint
from u2net.training import TrainConfig, parallel
from u2net.training.loop import Watch, train
from u2net.training.run_folder import read_rows
from u2net.training.snapshot import Snapshot, load_newest

pytestmark = needs_signals
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def _after(step: int, *numbers: int) -> Watch:
    """Sends signals to this process when a step is done."""

    def watch(_num_steps, row) -> None:
        for number in numbers if row["step"] == step and "loss" in row else ():
            os.kill(os.getpid(), number)

    return watch


def _interrupted(config: TrainConfig, run: Path, watch: Watch = lambda *_: None) -> TrainingInterrupted:
    with pytest.raises(TrainingInterrupted) as caught:
        train(config, run, watch=watch)
    return caught.value


def _newest(run: Path) -> Snapshot:
    return load_newest(run / "checkpoints", pytest.fail)


def _assert_same(run: Path, undisturbed: Path) -> None:
    """The same state and the same logged losses, to the last bit."""
    ours, theirs = _newest(run), _newest(undisturbed)
    assert ours.step == theirs.step
    assert all(torch.equal(ours.tensors[key], value) for key, value in theirs.tensors.items())
    rows = [[{k: v for k, v in r.items() if k != "images_per_s"} for r in _rows(f)] for f in (run, undisturbed)]
    assert rows[0] == rows[1]
    best = [load_checkpoint(folder / "best.safetensors") for folder in (run, undisturbed)]
    assert best[0].card == best[1].card  # with the digest of the weights


def _rows(run: Path) -> list[dict]:
    return read_rows(run / "metrics.jsonl")


# ---- In this process -----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.usefixtures("lean")
def test_a_signal_stops_the_run_at_the_steps_end_with_a_snapshot(configured, tmp_path, number):
    error = _interrupted(configured(checkpoint_every=100), tmp_path / "run", _after(2, number))
    assert error.signum == number
    assert "after step 2; the same command goes on" in str(error)
    assert _newest(tmp_path / "run").step == 2
    assert [row["step"] for row in _rows(tmp_path / "run")] == [1, 2]


@BOTH
@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
@pytest.mark.usefixtures("lean")
def test_a_signal_while_the_data_is_opened_ends_that_at_once(configured, tmp_path, number, cache):
    looked_at = []

    def progress(pairs):
        for pair in pairs:
            looked_at.append(pair)
            os.kill(os.getpid(), number)
            yield pair

    config = configured(cache=cache)
    with pytest.raises(TrainingInterrupted, match="while the data was opened") as caught:
        train(config, tmp_path / "run", progress=progress)
    assert caught.value.signum == number
    assert len(looked_at) == 1
    assert train(config, tmp_path / "run").num_steps == config.max_steps


@pytest.mark.usefixtures("lean")
def test_an_interrupted_run_goes_on_to_the_same_bits(configured, tmp_path):
    config = configured(max_steps=6, validate_every=2, ema=0.9, augment="modern")
    for step in (1, 2, 5):
        _interrupted(config, tmp_path / "a" / "run", _after(step, signal.SIGTERM))
    train(config, tmp_path / "a" / "run")
    train(config, tmp_path / "b" / "run")
    _assert_same(tmp_path / "a" / "run", tmp_path / "b" / "run")


@pytest.mark.parametrize("freeze_norm", [False, True])
@pytest.mark.usefixtures("lean")
def test_a_run_goes_on_without_the_weights_that_it_began_with(configured, tmp_path, monkeypatch, folded, freeze_norm):
    monkeypatch.chdir(tmp_path)
    run = Path("~", "run")  # a folder's name here, and no one's home
    config = configured(init=str(folded), feeding="checkpoint", freeze_norm=freeze_norm, ema=0.9)
    train(config, tmp_path / "run")
    _interrupted(config, run, _after(2, signal.SIGTERM))
    folded.unlink()
    train(config, run)
    _assert_same(run, tmp_path / "run")


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.usefixtures("lean")
def test_a_signal_in_a_validation_puts_it_off_until_the_run_goes_on(configured, tmp_path, monkeypatch, nth):
    config = configured(max_steps=4, validate_every=2, patience=9)
    pictures = iter(range(1, 1000))
    until_signal = parallel._until_signal

    def interrupted(*of):
        for example in until_signal(*of):
            if next(pictures) in (nth, nth + 1):  # and once more when it is made up for
                os.kill(os.getpid(), signal.SIGTERM)
            yield example

    with monkeypatch.context() as patch:
        patch.setattr(parallel, "_until_signal", interrupted)
        for _ in range(2):
            _interrupted(config, tmp_path / "a" / "run")
            assert _newest(tmp_path / "a" / "run").step == 2
            assert not any("validation" in row for row in _rows(tmp_path / "a" / "run"))
    train(config, tmp_path / "a" / "run")
    train(config, tmp_path / "b" / "run")
    _assert_same(tmp_path / "a" / "run", tmp_path / "b" / "run")


@pytest.mark.usefixtures("lean")
def test_a_second_interrupt_ends_at_once(configured, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(configured(), tmp_path / "run", watch=_after(2, signal.SIGINT, signal.SIGINT))
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.usefixtures("lean")
def test_a_request_to_end_may_be_repeated(configured, tmp_path):
    error = _interrupted(configured(), tmp_path / "run", _after(2, signal.SIGTERM, signal.SIGTERM, signal.SIGTERM))
    assert error.signum == signal.SIGTERM
    assert _newest(tmp_path / "run").step == 2


@pytest.mark.usefixtures("lean")
def test_former_handlers_are_put_back(configured, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    _interrupted(configured(), tmp_path / "run", _after(1, signal.SIGTERM))
    train(configured(), tmp_path / "run")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# ---- On the command line -------------------------------------------------------------------------------------

SMALL = {"size": 40, "crop": 32, "batch-size": 2, "workers": 0, "device": "cpu", "holdout": 0.25, "max-steps": 12}


def _command(run: Path, root: Path, **options) -> list[str]:
    given = SMALL | {"preset": "paper"} | {name.replace("_", "-"): value for name, value in options.items()}
    return [sys.executable, "-m", "u2net", "train", str(run), str(root), *(f"--{k}={v}" for k, v in given.items())]


def _signalled(command: list[str], run: Path, number: int, num_steps: int) -> tuple[int, str]:
    """Exit code and standard error of a process that gets a signal when it has done a few steps."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while process.poll() is None and len(_rows(run)) < num_steps:
            time.sleep(0.02)
        process.send_signal(number)
        _, told = process.communicate()
    return process.returncode, told


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_the_exit_code_is_that_of_the_signal(tmp_path, number, code):
    command = _command(tmp_path / "run", write_pairs(tmp_path / "set"), max_steps=1000)
    returned, told = _signalled(command, tmp_path / "run", number, 2)
    assert returned == code, told
    step = _newest(tmp_path / "run").step
    assert told.splitlines()[-1] == f"u2net: interrupted after step {step}; the same command goes on from there"
    assert "Traceback" not in told
    assert _rows(tmp_path / "run")[-1]["step"] == step


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_ten_signals_change_no_bit(tmp_path, workers):
    root, options = write_pairs(tmp_path / "set"), {"max_steps": 40, "workers": workers, "validate_every": 7}
    command = _command(tmp_path / "a" / "run", root, **options)
    codes = []
    for count in range(10):
        number = (signal.SIGTERM, signal.SIGINT)[count % 2]
        codes.append(_signalled(command, tmp_path / "a" / "run", number, len(_rows(tmp_path / "a" / "run")) + 2)[0])
    assert codes == [143, 130] * 5
    for run in ("a", "b"):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(_command(tmp_path / run / "run", root, **options), check=True, env=environment)
    _assert_same(tmp_path / "a" / "run", tmp_path / "b" / "run")

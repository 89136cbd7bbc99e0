"""Plant one small fault at a time in a copy of the code, and report whether the tests notice it.

    python tools/plant_faults.py                   # every fault: an hour or so on two cores
    python tools/plant_faults.py exif margin       # those whose name holds one of these words
    python tools/plant_faults.py --check           # only look whether each fault can still be planted

A fault that no test notices has "survived": write a test for it. The copy is a git worktree of what is committed, in a
temporary folder; your files are not touched. The test that failed is run again without the fault, where it must pass.
Exits with 1 if a fault survived, or cannot be planted because the code has changed: then bring its row up to date.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT_S = 900  # a test that hangs has noticed too


@dataclass(frozen=True)
class Fault:
    """One change of a line or less."""

    name: str
    file: str
    """Below src/u2net."""
    right: str
    """What the code says; where it says it more than once, all change."""
    wrong: str
    """What it says with the fault."""
    tests: str = ""
    """Files below tests that should notice, with a space between; without, the one that mirrors the file."""

    @property
    def test_names(self) -> list[str]:
        """Files below tests that should notice."""
        path = Path(self.file)
        return self.tests.split() or [str(path.with_name(f"test_{path.name}"))]


# fmt: off
FAULTS = (
    # images
    Fault("Exif's colour space is kept", "images/exif.py", "_Base.ColorSpace, _Base.ExifInter", "_Base.ExifInter"),
    Fault("no black-point compensation", "images/color.py",
          "ImageCms.Flags.BLACKPOINTCOMPENSATION", "ImageCms.Flags.NONE"),
    Fault("16-bit arrays are a level too bright", "images/load.py",
          "* 255 + white // 2) // white", "* 256 + white // 2) // white"),
    Fault("a picture on its corner is turned wrongly", "images/load.py",
          "5: Image.Transpose.TRANSPOSE", "5: Image.Transpose.TRANSVERSE"),
    Fault("a side at the limit is refused", "images/limits.py",
          "max(size) > limits.max_side", "max(size) >= limits.max_side", "images/test_load.py"),
    Fault("checksums of PNG bands join wrongly", "images/png.py", "(second & 0xFFFF) - 1)", "(second & 0xFFFF))"),
    Fault("parts hang together by corners", "images/morphology.py",
          'np.searchsorted(ends, starts + stride, side="right")', "np.searchsorted(ends, starts + stride)"),
    # models, inference
    Fault("weights in other files are read", "models/onnx_file.py",
          "(field == _TENSOR_LOCATION and value != _DEFAULT)", "False"),
    Fault("a file is not hashed", "models/zoo.py", "== model.checksum\n    return False", "!= ''\n    return False"),
    Fault("maps are not stretched", "models/transform.py", "if self.stretch and high > low", "if False"),
    Fault("the second look is upside down", "inference/session.py",
          "((), (2,), (1,))", "((), (1,), (2,))", "inference/test_session.py cutout/test_remove.py"),
    Fault("sure pictures count as empty", "inference/session.py",
          "EMPTY = 0.1", "EMPTY = 0.5", "inference/test_session.py cutout/test_cutter.py"),
    # cutout
    Fault("faint alpha is not seen", "cutout/compose.py",
          "_SEEN = 13", "_SEEN = 25", "cutout/test_compose.py cutout/test_finish.py"),
    Fault("crops leave half the margin", "cutout/compose.py", "free = 2 * round(", "free = round("),
    Fault("the shadow is too high", "cutout/compose.py", "bottom - height // 2", "bottom - height"),
    Fault("products of alphas are cut", "cutout/compose.py",
          " + 32_767) // 65_535", ") // 65_535", "cutout/test_compose.py cutout/test_finish.py"),
    Fault("one session is opened by each thread", "cutout/remove.py",
          "    with _shared_sessions_lock:", "    if True:"),
    Fault("colours are estimated in one round", "cutout/matting/foreground.py",
          "_ROUNDS = 2 ", "_ROUNDS = 1 ",
          "cutout/test_outline.py cutout/matting/test_foreground.py"),
    Fault("refinement trusts what is near an outline", "cutout/matting/refine.py",
          "_MARGIN = 2 ", "_MARGIN = 1 ", "cutout/test_outline.py cutout/matting/test_refine.py"),
    Fault("the mask is trusted more where colours tell nearly all", "cutout/matting/refine.py",
          "_PRIOR_TOLD = 0.05", "_PRIOR_TOLD = 0.1", "cutout/test_outline.py"),
    Fault("the guided filter smooths low variances", "cutout/matting/guided.py",
          "_LEAST_VARIANCE = 1e-4", "_LEAST_VARIANCE = 1e-2", "cutout/test_outline.py cutout/matting/test_guided.py"),
    Fault("the threshold itself counts as subject", "cutout/matting/alpha_matting.py",
          "_eroded(mask > foreground_threshold", "_eroded(mask >= foreground_threshold"),
    Fault("a file that ends in a zero looks incomplete", "cutout/batch/watch.py", "_ZEROS = 64", "_ZEROS = 1"),
    Fault("pauses of a copy are not waited for", "cutout/batch/watch.py",
          "seen.is_taken, seen.is_doubtful = False, True", "seen.is_taken, seen.is_doubtful = True, True"),
    Fault("a journal decides where to write", "cutout/batch/tasks.py",
          "before.target not in (None, *_possible(task))", "False"),
    # evaluation
    Fault("deviations divide by all", "evaluation/metrics/f_e_s_measure.py",
          "/ (num - 1)) if num > 1", "/ num) if num > 1"),
    Fault("rims are rounded down", "evaluation/metrics/overlap.py", "max(1, round(0.02", "max(1, int(0.02"),
    Fault("pictures that look less alike are copies", "evaluation/check/lookalikes.py",
          "_MIN_CORRELATION = 0.95", "_MIN_CORRELATION = 0.5"),
    Fault("pictures without a mask vanish", "evaluation/dataset.py",
          "images_by_stem.keys() | masks_by_stem.keys()", "images_by_stem.keys() & masks_by_stem.keys()"),
    # net, training
    Fault("integers keep no level exactly", "net/constant_channels.py",
          "or not torch.equal(bias - level + level, bias)", ""),
    Fault("resolution is never lost", "training/augment.py",
          "(0.30, appearance.lose_resolution)", "(0.00, appearance.lose_resolution)"),
    Fault("blurs are ten times as wide", "training/appearance.py",
          "rng.uniform(0.4, 2) for", "rng.uniform(0.4, 20) for", "training/test_augment.py"),
    Fault("warm-up begins at nothing", "training/optimizer.py", "config.lr * (step + 1) /", "config.lr * step /"),
    Fault("every epoch has the same order", "training/examples.py",
          "spawn_key=(_ORDER, epoch)", "spawn_key=(_ORDER, 0)"),
    Fault("outlines are looked for twice as far", "training/loss.py", "_OUTLINE = 15 / 352", "_OUTLINE = 31 / 352"),
    Fault("damaged snapshots are loaded", "training/snapshot.py", "if sha256_of(path / name) != expected", "if False"),
    # server
    Fault("a key is used once too often", "server/auth.py", "if self._tokens < 1:", "if self._tokens < 0:"),
    Fault("tokens pile up", "server/auth.py",
          "min(self.burst, self._tokens + (now - self._filled) * self.rate)",
          "self._tokens + (now - self._filled) * self.rate"),
    Fault("batches are one too large", "server/batcher.py",
          "while num < self._max_batch", "while num <= self._max_batch"),
    Fault("addresses of carriers are public", "server/fetch.py", '"100.64.0.0/10", ', ""),
    Fault("one redirection too many", "server/fetch.py", "range(_MAX_REDIRECTS + 1)", "range(_MAX_REDIRECTS + 2)"),
    Fault("clients that left count as served", "server/middleware.py",
          'code = 499 if scope["state"].get("is_client_gone") else status', "code = status"),
    Fault("files that are too long are 400", "server/api.py",
          'Problem(413, f"a picture may have', 'Problem(400, f"a picture may have', "server/test_middleware.py"),
    # system, cli
    Fault("half a file is left behind", "system/files.py", "temporary.unlink(missing_ok=True)", "pass"),
    Fault("the last signal counts", "system/process.py",
          "self.received = self.received or number", "self.received = number"),
    Fault("a picture may replace itself", "cli/places.py",
          "if source != PIPE and os.path.isfile(target) and os.path.samefile(target, source):", "if False:",
          "cli/test_remove.py"),
    Fault("a picture that is named last is an output", "cli/places.py",
          "len(inputs) > 1 and (os.path.isdir(inputs[-1]) or not os.path.lexists(inputs[-1]))", "len(inputs) > 1",
          "cli/test_remove.py"),
    Fault("12 bits are taken for 16", "images/color.py", "(255, 1023, 4095, 16_383, 65_535)", "(255, 1023, 65_535)",
          "images/test_formats.py"),
    Fault("white logos are seen over white", "images/picture.py", "if close(255) <= 0.05", "if close(255) <= 1.05"),
    Fault("reports leave for the makers of the runtime", "__init__.py",
          'os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")', "", "test_privacy.py"),
    Fault("one's own files are held to a service's limits", "images/load.py",
          "limits = limits or own_limits()", "limits = limits or LIMITS", "images/test_limits.py"),
    Fault("a failure ends with 0", "cli/remove.py", 'return 1 if cut.status == "failed" else 0', "return 0"),
    Fault("a refusal ends with 1", "cli/failure.py",
          "exit_code = 2", "exit_code = 1", "cli/test_remove.py cli/test_cli.py"),
)
# fmt: on


def main() -> None:
    """Plant the faults that were asked for, and say what became of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of names; without, all faults")
    parser.add_argument(
        "--check", action="store_true", help="plant nothing: say which faults the code has no place for"
    )
    asked = parser.parse_args()
    words = [word.lower() for word in asked.words]
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name.lower() for word in words)]
    counts = dict.fromkeys(("caught", "survived", "no place"), 0)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place, "copy")
        _git("worktree", "add", "--quiet", "--detach", str(copy), "HEAD")
        try:
            for fault in chosen:
                start = time.monotonic()
                fate = _fate(fault, copy, only_check=asked.check)
                if fate in counts:
                    counts[fate] += 1
                    print(f"{fate:9} {time.monotonic() - start:4.0f} s  {fault.file}: {fault.name}", flush=True)
        finally:
            _git("worktree", "remove", "--force", str(copy))
    print(", ".join(f"{num} {fate}" for fate, num in counts.items()))
    sys.exit(1 if counts["survived"] or counts["no place"] else 0)


def _fate(fault: Fault, copy: Path, *, only_check: bool) -> str:
    """What becomes of a fault: "caught", "survived", or "no place"; where only that is asked, "there"."""
    file = copy / "src/u2net" / fault.file
    tests = [f"tests/{name}" for name in fault.test_names]
    code = file.read_text(encoding="utf-8") if file.exists() else ""
    if fault.right not in code or not all((copy / test).exists() for test in tests):
        return "no place"
    if only_check:
        return "there"
    file.write_text(code.replace(fault.right, fault.wrong), encoding="utf-8")
    try:
        failed = _first_failure(tests, copy)
    finally:
        file.write_text(code, encoding="utf-8")
    if failed is None:
        return "survived"
    if _first_failure([failed], copy) is not None:
        raise RuntimeError(f"{failed} fails without a fault too")
    return "caught"


def _first_failure(tests: list[str], copy: Path) -> str | None:
    """The test of the copy that fails first, or that never ends; None if all pass."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return tests[0]
    if done.returncode == 0:
        return None
    named = re.search(r"^(?:FAILED|ERROR) ([^\s\[]+)", done.stdout, re.MULTILINE)
    if named is None:
        raise RuntimeError(done.stdout + done.stderr)
    return named[1]


def _git(*args: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *args], check=True)  # noqa: S603, S607


if __name__ == "__main__":
    main()

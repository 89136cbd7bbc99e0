"""Which runtime computes, and in what numbers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from u2net.errors import InvalidModel
from u2net.inference.runtimes import PROVIDERS, openvino_core
from u2net.models.card import METADATA_KEY, PRECISION_KEY, Card
from u2net.models.onnx_file import read_metadata
from u2net.models.zoo import integers_beside

Runtime = Literal["auto", "onnxruntime", "openvino", "ncnn"]
"""What runs a model. "auto" is OpenVINO where it is installed, else ONNX Runtime; ncnn is only ever asked for."""

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""In what numbers it computes. "auto" leaves fp32 only if the runtime is "auto" too, as `choose` says."""


def choose(
    path: Path, size: tuple[int, int], runtime: Runtime, precision: Precision
) -> tuple[Path, Literal["onnxruntime", "openvino", "ncnn"], Literal["fp32", "bf16", "int8"]]:
    """File, runtime and precision for pictures of `size` = (width, height).

    Nothing is changed that was named. Otherwise OpenVINO is taken where it is installed and there is no GPU for ONNX
    Runtime; and integers, if runtime and precision are both left open, OpenVINO is taken, the processor multiplies
    bytes without loss, and beside `NAME.onnx` there is a `NAME-int8.onnx` of the same weights for this size.
    bfloat16 and ncnn, which knows float32 alone, are only ever asked for.

    Raises ValueError for a runtime or precision that does not exist or cannot be had here, InvalidModel if there is
    no file of integers.
    """
    for kind, found, known in (("runtime", runtime, get_args(Runtime)), ("precision", precision, get_args(Precision))):
        if found not in known:
            raise ValueError(f"{kind} is one of {', '.join(known)}, got {found!r}")
    chosen = runtime
    if chosen == "auto":
        chosen = "openvino" if find_spec("openvino") and not has_gpu() else "onnxruntime"
    has_integers = read_metadata(path).get(PRECISION_KEY) == "int8"
    if chosen == "ncnn" and (has_integers or precision in ("bf16", "int8")):
        raise ValueError("ncnn computes in fp32 alone")
    if has_integers:
        if precision not in ("auto", "int8"):
            raise ValueError(f"{path.name} computes with integers, not in {precision}")
        return path, chosen, "int8"
    if precision == "bf16":
        if chosen != "openvino" or "BF16" not in _capabilities():
            raise ValueError("bf16 needs the runtime openvino and a processor that computes with it")
        return path, chosen, precision
    beside = integers_beside(path)
    if precision == "int8":
        if not _serves(beside, path, size):
            raise InvalidModel(f"there is no {beside.name} of the same weights and size: u2net export --int8 makes it")
        return beside, chosen, precision
    if runtime == precision == "auto" and chosen == "openvino" and _serves(beside, path, size) and _multiplies_bytes():
        return beside, chosen, "int8"
    return path, chosen, "fp32"


def _serves(integers: Path, path: Path, size: tuple[int, int]) -> bool:
    """Whether a file is there that has the weights of another, in integers, for pictures of this size."""
    if not integers.is_file():
        return False
    ours, theirs = read_metadata(integers), read_metadata(path)
    if ours.get(PRECISION_KEY) != "int8" or METADATA_KEY not in ours or METADATA_KEY not in theirs:
        return False
    try:
        card, expected = Card.from_json(ours[METADATA_KEY]), Card.from_json(theirs[METADATA_KEY])
    except ValueError:
        return False
    return card.sha256 == expected.sha256 != "" and card.transform.size == size


def has_gpu() -> bool:
    """Whether ONNX Runtime, as it is installed, computes on GPUs."""
    import onnxruntime

    return PROVIDERS["cuda"] in onnxruntime.get_available_providers()


def _capabilities() -> list[str]:
    return list(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _multiplies_bytes() -> bool:
    """Whether the processor has VNNI: without it, sums of products of bytes are cut at 16 bits, and maps suffer."""
    if "BF16" in _capabilities():  # which no x86 processor has without
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False

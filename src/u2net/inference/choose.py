"""Which runtime runs a model, and in what numbers."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from u2net.errors import InvalidModel, UnusableRuntime
from u2net.inference.runtimes import PROVIDERS, RUNTIMES, Number, Precision, Runtime, processor_numbers
from u2net.models.card import Card
from u2net.models.integers import find_integers
from u2net.models.onnx_file import OnnxFile
from u2net.models.table import Model
from u2net.models.zoo import integers_beside


def choose(
    file: OnnxFile, model: Model | None, card: Card, runtime: Runtime, precision: Precision
) -> tuple[Path, str, Number]:
    """The file to open, the runtime and the precision, for weights and pictures of the size that `card` tells of.

    A runtime or precision that was named is used. Otherwise the runtime is OpenVINO where it is installed and ONNX
    Runtime has no GPU, else ONNX Runtime; and the precision is fp32. Only if neither is named are integers used: with
    OpenVINO, if beside `NAME.onnx` there is a `NAME-int8.onnx` with the same weights for this size that is as good on
    this processor, or if `model`, the row of the table whose file it is, has a recipe.

    Raises ValueError for a runtime or precision that does not exist or that do not go together, InvalidModel if there
    is no file of integers.
    """
    for kind, found, known in (("runtime", runtime, get_args(Runtime)), ("precision", precision, get_args(Precision))):
        if found not in known:
            raise ValueError(f"{kind} is one of {', '.join(known)}, got {found!r}")
    chosen: str = runtime
    if chosen == "auto":
        chosen = "openvino" if find_spec("openvino") and not has_gpu() else "onnxruntime"
    if file.is_int8 and precision not in ("auto", "int8"):
        raise UnusableRuntime(f"{file.path.name} computes with integers, not in {precision}")
    wanted = "int8" if file.is_int8 else precision
    if wanted not in ("auto", *RUNTIMES[chosen].precisions):
        able = [name for name, row in RUNTIMES.items() if wanted in row.precisions]
        raise UnusableRuntime(f"{wanted} needs the runtime {' or '.join(able)}, not {chosen}")
    if file.is_int8 or wanted in ("fp32", "bf16"):
        return file.path, chosen, wanted  # type: ignore[return-value]
    is_free = runtime == "auto" and chosen == "openvino"
    integers = find_integers(file.path, model) if wanted == "int8" or is_free else None
    if integers and _serves(other := OnnxFile.read(integers), card):
        if wanted == "int8" or _has_vnni() or other.is_for_any_processor:
            return integers, chosen, "int8"
    elif wanted == "int8":
        name = integers_beside(file.path).name
        raise InvalidModel(f"there is no {name} of the same weights and size: u2net export --int8 makes it")
    return file.path, chosen, "fp32"


def _serves(integers: OnnxFile, expected: Card) -> bool:
    """Whether a file of integers has the weights of a card, and takes pictures of its size."""
    try:
        card = integers.card()
    except InvalidModel:
        return False
    has_weights = card.sha256 == expected.sha256 != ""
    return integers.is_int8 and has_weights and card.transform.size == expected.transform.size


def has_gpu() -> bool:
    """Whether ONNX Runtime, as it is installed, computes on GPUs."""
    import onnxruntime

    return PROVIDERS["cuda"] in onnxruntime.get_available_providers()


def _has_vnni() -> bool:
    """Whether any integers lose nothing on this processor; without VNNI only those whose sums fit 16 bits do not."""
    if "BF16" in processor_numbers():  # every x86 processor with BF16 has VNNI too
        return True
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False

"""Apple's Core ML: a package (`.mlpackage`), written operation by operation with coremltools' builder.

coremltools' own converter follows torch's versions about a year late; its builder needs no torch.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from u2net.engines.steps import Kind, Step, steps_of
from u2net.errors import InvalidModel, MissingExtra

if TYPE_CHECKING:
    import onnx


def write_coreml(model: onnx.ModelProto, path: Path) -> None:
    """Write a plain graph of ours as an ML program in float32, for iOS 15, macOS 12 and later.

    Its input and output are called `input` and `saliency`. It runs on Apple's systems alone: here its structure is
    compared with the graph. Raises MissingExtra, and InvalidModel if that is another.
    """
    with redirect_stderr(io.StringIO()):  # bars for a hundred passes, and what it lacks on other systems
        try:
            import coremltools
            from coremltools.converters.mil import Builder
        except ImportError:
            raise MissingExtra("Core ML's packages need: pip install 'u2net[coreml]'") from None
        target = coremltools.target.iOS15
        (taken,) = model.graph.input
        shape = tuple(dim.dim_value for dim in taken.type.tensor_type.shape.dim)
        steps = list(steps_of(model))

        def program(input: Any) -> Any:  # noqa: A002 (the name that users see)
            maps = {"input": input}
            for step in steps:
                maps[step.output] = _add(Builder, step, [maps[name] for name in step.inputs])
            return maps["saliency"]

        package = coremltools.convert(
            Builder.program(input_specs=[Builder.TensorSpec(shape=shape)], opset_version=target)(program),
            convert_to="mlprogram",
            minimum_deployment_target=target,
            compute_precision=coremltools.precision.FLOAT32,
            skip_model_load=True,
        )
        package.save(str(path))
        written = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    _check_structure(written, steps, shape)


def _check_structure(written: Any, steps: Sequence[Step], shape: tuple[int, ...]) -> None:
    """Raise InvalidModel unless the program has one operation for each step, and its ends."""
    (block,) = written.mlProgram.functions["main"].block_specializations.values()
    found = Counter(operation.type for operation in block.operations)
    expected = Counter(_OPERATIONS[step.kind] for step in steps)
    expected["relu"] = sum(step.has_relu for step in steps)
    (taken,), (given,) = written.description.input, written.description.output
    ends = (taken.name, tuple(taken.type.multiArrayType.shape), given.name)
    if {kind: found[kind] for kind in expected} != expected or ends != ("input", shape, "saliency"):
        raise InvalidModel(f"Core ML's package is another network: {dict(found)} from {ends[1]}")


_OPERATIONS: dict[Kind, str] = {
    "Conv": "conv",
    "MaxPool": "max_pool",
    "Resize": "resize_bilinear",
    "Concat": "concat",
    "Add": "add",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
}
"""Core ML's names."""


def _add(builder: Any, step: Step, inputs: list[Any]) -> Any:
    """Write a step; what it gives."""
    first = inputs[0]
    if step.kind == "Conv":
        given: dict[str, Any] = {"weight": step.weight, "bias": step.bias, "dilations": [step.dilation] * 2}
        made = builder.conv(
            x=first, pad_type="same", **given, name=f"{step.output}.sum" if step.has_relu else step.output
        )
        return builder.relu(x=made, name=step.output) if step.has_relu else made
    if step.kind == "MaxPool":
        window = {"kernel_sizes": [2, 2], "strides": [2, 2], "pad_type": "valid", "ceil_mode": True}
        return builder.max_pool(x=first, **window, name=step.output)
    if step.kind == "Resize":
        size = {"target_size_height": step.height, "target_size_width": step.width}
        # Its word for pixels' centres, as torch counts them.
        return builder.resize_bilinear(x=first, **size, sampling_mode="UNALIGN_CORNERS", name=step.output)
    if step.kind == "Concat":
        return builder.concat(values=inputs, axis=1, name=step.output)
    if step.kind == "Add":
        return builder.add(x=first, y=inputs[1], name=step.output)
    if step.kind == "Softmax":
        return builder.softmax(x=first, axis=1, name=step.output)
    return builder.sigmoid(x=first, name=step.output)

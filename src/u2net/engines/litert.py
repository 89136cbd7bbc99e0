"""LiteRT, once TensorFlow Lite: one file (`.tflite`), with channels last.

Written here, by the schema that LiteRT's own package brings: its converters from torch and ONNX bring JAX or
TensorFlow, gigabytes for the seven operations of our plain graphs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from u2net.engines.steps import Step, steps_of
from u2net.errors import MissingExtra

if TYPE_CHECKING:
    import onnx

    from u2net.models.transform import Backend

_IDENTIFIER = b"TFL3"
_VERSIONS = {"CONV_2D": 2, "RESIZE_BILINEAR": 3}  # of operations with dilation, and by pixels' centres; others are 1


def write_litert(model: onnx.ModelProto, path: Path) -> None:
    """Write a plain graph of ours; it takes float32 (1, H, W, 3) and gives (1, H, W, C). Raises MissingExtra."""
    _package()
    import flatbuffers

    (taken,) = model.graph.input
    shape = [dim.dim_value for dim in taken.type.tensor_type.shape.dim]
    writer = _Writer(shape)
    for step in steps_of(model):
        writer.add(step)
    builder = flatbuffers.Builder(1024)
    builder.Finish(writer.model().Pack(builder), file_identifier=_IDENTIFIER)
    path.write_bytes(builder.Output())


def open_litert(path: Path) -> Backend:
    """Such a file in LiteRT's interpreter, by its plain kernels: others tell on stderr that they are there."""
    _package()
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def backend(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        maps = []
        for picture in batch:
            interpreter.set_tensor(taken["index"], np.ascontiguousarray(picture.transpose(1, 2, 0))[None])
            interpreter.invoke()
            maps.append(interpreter.get_tensor(given["index"])[0].transpose(2, 0, 1))
        return np.stack(maps)

    return backend


def _package() -> None:
    try:
        import ai_edge_litert  # noqa: F401
    except ImportError:
        raise MissingExtra("LiteRT's files need: pip install 'u2net[litert]'") from None


class _Writer:
    """Puts a model together from steps; places in its lists stand for names."""

    def __init__(self, shape: list[int]) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.buffers = [schema.BufferT()]  # the first is empty: that of maps
        self.tensors: list[Any] = []
        self.places: dict[str, int] = {}
        self.codes: dict[str, int] = {}
        self.operators: list[Any] = []
        _, channels, height, width = shape
        self.places["input"] = self._tensor("input", [1, height, width, channels])

    def add(self, step: Step) -> None:
        """Write an operation and the map that it gives."""
        inputs = [self.places[name] for name in step.inputs]
        if step.weight is not None and step.bias is not None:
            name = f"{step.output}.weight"
            inputs.append(self._constant(name, np.ascontiguousarray(step.weight.transpose(0, 2, 3, 1))))
            inputs.append(self._constant(f"{step.output}.bias", step.bias))
        if step.kind == "Resize":
            inputs.append(self._constant(f"{step.output}.size", np.array([step.height, step.width], np.int32)))
        operation, options_kind, options = self._operation(step)
        place = self._tensor(step.output, [1, step.height, step.width, step.channels])
        self.places[step.output] = place
        operator = self.schema.OperatorT(self.codes.setdefault(operation, len(self.codes)), inputs, [place])
        if options is not None:
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, options_kind)
            operator.builtinOptions = options
        self.operators.append(operator)

    def _operation(self, step: Step) -> tuple[str, str, Any]:
        """What LiteRT calls a step, and its options."""
        schema = self.schema
        same, relu = schema.Padding.SAME, schema.ActivationFunctionType.RELU
        if step.kind == "Conv":
            options = schema.Conv2DOptionsT(same, 1, 1, relu if step.has_relu else 0, step.dilation, step.dilation)
            return "CONV_2D", "Conv2DOptions", options
        if step.kind == "MaxPool":
            return "MAX_POOL_2D", "Pool2DOptions", schema.Pool2DOptionsT(same, 2, 2, 2, 2)
        if step.kind == "Resize":
            options = schema.ResizeBilinearOptionsT(halfPixelCenters=True)
            return "RESIZE_BILINEAR", "ResizeBilinearOptions", options
        if step.kind == "Concat":
            return "CONCATENATION", "ConcatenationOptions", schema.ConcatenationOptionsT(axis=3)
        if step.kind == "Add":
            return "ADD", "AddOptions", schema.AddOptionsT()
        if step.kind == "Softmax":
            return "SOFTMAX", "SoftmaxOptions", schema.SoftmaxOptionsT(beta=1.0)
        return "LOGISTIC", "", None

    def _tensor(self, name: str, shape: list[int], kind: int = 0, buffer: int = 0) -> int:
        self.tensors.append(self.schema.TensorT(shape=shape, type=kind, buffer=buffer, name=name))
        return len(self.tensors) - 1

    def _constant(self, name: str, values: NDArray[Any]) -> int:
        kinds = self.schema.TensorType
        self.buffers.append(self.schema.BufferT(data=values.reshape(-1).view(np.uint8)))
        kind = kinds.FLOAT32 if values.dtype == np.float32 else kinds.INT32
        return self._tensor(name, list(values.shape), kind, len(self.buffers) - 1)

    def model(self) -> Any:
        """All together, with a signature that names both ends."""
        schema = self.schema
        codes = []
        for name in self.codes:
            code = getattr(schema.BuiltinOperator, name)
            codes.append(schema.OperatorCodeT(min(code, 127), None, _VERSIONS.get(name, 1), code))
        ends = [self.places["input"]], [self.places["saliency"]]
        maps = [[schema.TensorMapT(name, places[0])] for name, places in zip(("input", "saliency"), ends, strict=True)]
        graph = schema.SubGraphT(self.tensors, *ends, self.operators, "u2net")
        signature = schema.SignatureDefT(*maps, "serving_default", 0)
        return schema.ModelT(3, codes, [graph], "U²-Net", self.buffers, signatureDefs=[signature])

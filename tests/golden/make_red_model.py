"""Write `red.onnx`, a network that takes what is more red than blue for the subject; run where onnx is installed.

    python tests/golden/make_red_model.py

It is for tests of commands in processes of their own, where opening a model and looking should cost nothing.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from u2net.models.card import METADATA_KEY, Card
from u2net.models.transform import Transform

weights = np.array([8, 0, -8], np.float32).reshape(1, 3, 1, 1)
graph = helper.make_graph(
    [helper.make_node("Conv", ["input", "weights"], ["logits"]), helper.make_node("Sigmoid", ["logits"], ["saliency"])],
    "red",
    [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
    [helper.make_tensor_value_info("saliency", TensorProto.FLOAT, ["batch", 1, "height", "width"])],
    [numpy_helper.from_array(weights, "weights")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
helper.set_model_props(model, {METADATA_KEY: Card("red", Transform(size=(32, 32))).to_json()})
onnx.checker.check_model(model)
Path(__file__).with_name("red.onnx").write_bytes(model.SerializeToString(deterministic=True))

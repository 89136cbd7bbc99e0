"""The service as its users start it: `u2net serve` in a process of its own, with a network that takes no time."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .running import Running


def tiny_model(folder: Path) -> str:
    """An ONNX file that gives the mean of the three channels, as a probability."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sigmoid", ["mean"], ["map"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 320, 320])
    found = helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", 1, 320, 320])
    graph = helper.make_graph(nodes, "tiny", [image], [found])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = folder / "tiny.onnx"
    onnx.save(model, path)
    return str(path)


class Process(Running):
    """Its port, and its process."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process = process
        self._log = log
        while not (ready := [line for line in self.lines() if line["message"] == "ready"]):
            assert process.poll() is None, f"it did not start: {log.read_text()}"
            time.sleep(0.05)
        super().__init__(ready[0]["port"], None, None)

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged."""
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def mib(self, field: str = "VmRSS") -> float:
        """Memory of the process: VmRSS now, VmHWM at its most."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024

    def forget_peak(self) -> None:
        """Begin VmHWM anew."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


@contextmanager
def serving(*options: str, command: tuple[str, ...] = ("-m", "u2net", "serve")) -> Iterator[Process]:
    """The service, once it is ready, until the end of the block."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as stdout:
            process = subprocess.Popen(
                [sys.executable, *command, "--port", "0", *options], stdout=stdout, env=environment
            )
        try:
            place = Process(process, log)
            yield place
        finally:
            process.kill()
            process.wait()
        for connection in place.connections:
            connection.close()

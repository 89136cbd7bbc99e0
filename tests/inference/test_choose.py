import hashlib
import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from needs import needs_fork, needs_signals
from pictures import ROOT

from u2net import Transform
from u2net.errors import InvalidModel, MissingExtra
from u2net.inference import choose as choosing
from u2net.inference import runtimes
from u2net.inference.compiled import load, place
from u2net.inference.open import new_session
from u2net.inference.runtimes import RUNTIMES, Runtime
from u2net.models import onnx_file
from u2net.models.onnx_file import OnnxFile, read_metadata

FLOAT = ROOT / "src/u2net/models/weights/u2netp.onnx"
INTEGERS = ROOT / "src/u2net/models/weights/u2netp-int8.onnx"
SIZE = (320, 320)


def choose(path, size, *arguments):
    file = OnnxFile.read(path)
    card = file.card()
    return choosing.choose(file, None, replace(card, transform=replace(card.transform, size=size)), *arguments)


@pytest.fixture
def machine(monkeypatch):
    """Says what is installed and what the processor can: `machine(openvino=True, gpu=False, vnni=True, bf16=True)`."""

    def set_up(openvino: bool = True, gpu: bool = False, vnni: bool = True, bf16: bool = True) -> None:
        monkeypatch.setattr(choosing, "find_spec", lambda name: openvino and name == "openvino")
        monkeypatch.setattr(choosing, "has_gpu", lambda: gpu)
        monkeypatch.setattr(choosing, "_has_vnni", lambda: vnni)
        monkeypatch.setattr(runtimes, "processor_numbers", lambda: ["FP32", "BF16"] if bf16 else ["FP32"])

    return set_up


def test_openvino_and_integers_are_taken_where_all_is_there_for_them(machine):
    machine()
    assert choose(FLOAT, SIZE, "auto", "auto") == (INTEGERS, "openvino", "int8")


@pytest.mark.parametrize(
    ("lacking", "runtime"),
    [({"openvino": False}, "onnxruntime"), ({"gpu": True}, "onnxruntime")],
)
def test_where_something_lacks_float32_is_taken(machine, lacking, runtime):
    machine(**lacking)
    assert choose(FLOAT, SIZE, "auto", "auto") == (FLOAT, runtime, "fp32")


@pytest.mark.parametrize(("key", "precision"), [("u2net.pairs", "int8"), ("u2net.other", "fp32")])
def test_without_vnni_only_integers_are_taken_whose_sums_fit_16_bits(machine, tmp_path, key, precision):
    """0.1.0 wrote others."""
    onnx = pytest.importorskip("onnx")
    copies = [shutil.copy(path, tmp_path) for path in (FLOAT, INTEGERS)]
    integers = onnx.load(copies[1])
    kept = {entry.key: entry.value for entry in integers.metadata_props if entry.key != "u2net.pairs"}
    onnx.helper.set_model_props(integers, kept | {key: "16 bits"})
    onnx.save(integers, copies[1])
    machine(vnni=False)
    assert choose(copies[0], SIZE, "auto", "auto")[2] == precision
    machine(vnni=True)
    assert choose(copies[0], SIZE, "auto", "auto")[2] == "int8"


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_that_is_named_is_exact_unless_asked(machine, runtime):
    machine()
    assert choose(FLOAT, SIZE, runtime, "auto") == (FLOAT, runtime, "fp32")
    assert choose(FLOAT, SIZE, runtime, "int8") == (INTEGERS, runtime, "int8")


def test_float32_that_is_asked_for_is_given(machine):
    machine()
    assert choose(FLOAT, SIZE, "auto", "fp32") == (FLOAT, "openvino", "fp32")


def test_integers_for_another_size_are_not_taken(machine):
    machine()
    assert choose(FLOAT, (256, 256), "auto", "auto")[0] == FLOAT
    with pytest.raises(InvalidModel, match=r"u2netp-int8\.onnx"):
        choose(FLOAT, (256, 256), "auto", "int8")


def test_integers_of_other_weights_are_not_taken(machine, tmp_path):
    onnx = pytest.importorskip("onnx")
    machine()
    shutil.copy(INTEGERS, tmp_path / "mine-int8.onnx")
    model = onnx.load(FLOAT)
    onnx.helper.set_model_props(model, {"u2net.card": '{"name": "mine", "sha256": "00"}'})
    onnx.save(model, tmp_path / "mine.onnx")
    assert choose(tmp_path / "mine.onnx", SIZE, "auto", "auto")[2] == "fp32"


def test_a_file_of_integers_is_run_as_it_is_and_as_nothing_else(machine):
    machine()
    assert choose(INTEGERS, SIZE, "onnxruntime", "auto") == (INTEGERS, "onnxruntime", "int8")
    with pytest.raises(ValueError, match="integers"):
        choose(INTEGERS, SIZE, "onnxruntime", "fp32")


def test_bfloat16_needs_openvino_and_a_processor_that_has_it(machine):
    machine()
    assert choose(FLOAT, SIZE, "openvino", "bf16") == (FLOAT, "openvino", "bf16")
    with pytest.raises(ValueError, match="bf16 needs the runtime openvino, not onnxruntime"):
        choose(FLOAT, SIZE, "onnxruntime", "bf16")
    pytest.importorskip("openvino")
    machine(bf16=False)
    with pytest.raises(ValueError, match="bf16 needs a processor"):
        new_session(FLOAT, precision="bf16")


def test_the_extra_of_a_runtime_is_named_where_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(runtimes, "_openvino_core", runtimes._openvino_core.__wrapped__)  # not the one that is kept
    with pytest.raises(MissingExtra, match=r"pip install 'u2net\[openvino\]'"):
        new_session(FLOAT, runtime="openvino")


def test_every_runtime_can_be_named_and_none_beside():
    assert get_args(Runtime) == ("auto", *RUNTIMES)
    with pytest.raises(ValueError, match="runtime is one of auto, onnxruntime, openvino"):
        choose(FLOAT, SIZE, "ncnn", "auto")


def test_the_header_of_a_file_is_read_once(machine, monkeypatch):
    machine()
    read = []
    monkeypatch.setattr(onnx_file, "read_metadata", lambda path: read.append(path) or read_metadata(path))
    for runtime, precision, files in (("onnxruntime", "fp32", [FLOAT]), ("onnxruntime", "int8", [FLOAT, INTEGERS])):
        read.clear()
        new_session(FLOAT, runtime=runtime, precision=precision)
        assert read == files


def test_a_precision_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="precision is one of auto, fp32, bf16, int8"):
        choose(FLOAT, SIZE, "auto", "fp16")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precision_gives_nearly_the_same_map(packaged, photograph, runtime, precision):
    pytest.importorskip(runtime)
    try:
        session = new_session(FLOAT, runtime=runtime, precision=precision, threads=1)
    except ValueError as error:
        pytest.skip(str(error))
    assert np.abs(session.saliency(photograph) - packaged.saliency(photograph)).mean() < 0.02


@pytest.mark.parametrize("name", ["tensorrt", "TensorrtExecutionProvider", "nonsense"])
def test_a_provider_that_is_not_active_is_told_of(caplog, name):
    with caplog.at_level(logging.WARNING, "u2net"):
        new_session(FLOAT, providers=[name, "cpu"], transform=Transform(size=(32, 32)))
    assert name.lower() in caplog.text.lower()
    assert "CPUExecutionProvider" in caplog.text


def test_the_cpu_by_its_short_name_needs_no_warning(caplog):
    new_session(FLOAT, providers=["cpu"], transform=Transform(size=(32, 32)))
    assert not caplog.records


def test_what_openvino_compiled_is_kept_and_made_again_if_it_was_damaged(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    compiled = []
    core = runtimes.openvino_core()

    class Core:
        """OpenVINO's, which notes what it compiles."""

        def __getattr__(self, name):
            compiled.append(name) if name == "compile_model" else None
            return getattr(core, name)

    monkeypatch.setattr(runtimes, "openvino_core", Core)
    black = np.zeros((32, 32, 3), np.uint8)

    def answer() -> bytes:
        session = new_session(FLOAT, runtime="openvino", threads=1, transform=Transform(size=(32, 32)))
        return session.saliency(black).tobytes()

    first = answer()
    (kept,) = (tmp_path / "openvino").iterdir()
    whole = kept.read_bytes()
    assert (answer(), len(compiled)) == (first, 1)
    middle = len(whole) // 2
    weight_changed = whole[:middle] + bytes([whole[middle] ^ 64]) + whole[middle + 1 :]
    for num_damaged, content in enumerate([weight_changed, whole[:-100], b""], 1):
        kept.write_bytes(content)
        assert answer() == first
        assert len(compiled) == 1 + num_damaged
        assert kept.read_bytes()[:32] == hashlib.sha256(kept.name.encode() + kept.read_bytes()[32:]).digest()
    assert list((tmp_path / "openvino").iterdir()) == [kept]
    shutil.copy(kept, tmp_path / "of another network.compiled")
    assert load(tmp_path / "of another network.compiled", core, {}) is None


def test_what_is_compiled_otherwise_is_kept_apart(tmp_path):
    pytest.importorskip("openvino")
    core = runtimes.openvino_core()
    made = [(FLOAT, (32, 32), {}), (INTEGERS, (32, 32), {}), (FLOAT, (64, 32), {}), (FLOAT, (32, 32), {"a": 1})]
    assert len({place(tmp_path, core, *facts) for facts in made}) == len(made)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "file/below"))
    session = new_session(FLOAT, runtime="openvino", threads=1, transform=Transform(size=(32, 32)))
    assert session.mask(np.zeros((8, 8, 3), np.uint8)).shape == (8, 8)


@needs_signals
def test_a_signal_after_sessions_of_openvino_are_gone_does_not_kill_the_process():
    pytest.importorskip("openvino")
    script = """if True:
        import os, signal, sys
        from u2net.inference.open import new_session
        sessions = [new_session(sys.argv[1], runtime="openvino", precision="fp32") for _ in range(2)]
        while sessions:
            sessions.pop(0)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        os.kill(os.getpid(), signal.SIGTERM)
    """
    assert subprocess.run([sys.executable, "-X", "faulthandler", "-c", script, FLOAT], check=False).returncode == 7


def test_threads_that_are_the_first_to_use_openvino_do_not_wait_for_each_other():
    pytest.importorskip("openvino")
    script = """if True:
        import sys, threading
        import numpy as np
        from u2net.inference.open import new_session
        backend = new_session(sys.argv[1], runtime="openvino", precision="fp32").backend
        together = threading.Barrier(4)
        def use():
            together.wait()
            backend(np.zeros((1, 3, 320, 320), np.float32))
        sys.setswitchinterval(1e-6)
        for thread in [threading.Thread(target=use) for _ in range(4)]:
            thread.start()
    """
    assert subprocess.run([sys.executable, "-c", script, FLOAT], check=False, timeout=60).returncode == 0


@needs_fork
def test_a_forked_child_is_told_that_openvino_does_not_work_there():
    pytest.importorskip("openvino")
    script = """if True:
        import os, sys
        import numpy as np
        from u2net import Transform, new_session
        def opened():
            small = Transform(size=(32, 32))
            return new_session(sys.argv[1], runtime="openvino", precision="fp32", threads=1, transform=small)
        black = np.zeros((32, 32, 3), np.uint8)
        session = opened()
        session.mask(black)
        for what in (opened, lambda: session.mask(black)):
            if os.fork() == 0:
                try:
                    what()
                except Exception as error:
                    os.write(1, f"{type(error).__name__}: {error}\\n".encode())
                os._exit(0)
            os.wait()
        session.mask(black)
        """
    found = subprocess.run([sys.executable, "-c", script, str(FLOAT)], capture_output=True, text=True, timeout=100)
    said = found.stdout.splitlines()
    assert len(said) == 2, found.stderr
    assert all(line.startswith("UnusableRuntime: OpenVINO") and "'spawn'" in line for line in said)


def test_openvino_says_in_one_plain_line_what_is_wrong_with_a_file():
    long = (
        "Exception from src/inference/src/cpp/core.cpp:84:\nCheck 'false' failed at src/a.cpp:151:\n"
        "FrontEnd API failed with OpConversionFailure:\n-- Conv-18 with a message:\n"
        "While validating node 'opset1::Convolution' with friendly_name 'a':\n"
        "Data batch channel count (3) does not match filter input channel count (7).\n\n"
        "Summary:\n-- Conversion is failed for: Conv-18\n\n"
    )
    assert runtimes._reason(RuntimeError(long)).startswith("Data batch channel count (3) does not match")
    unknown = "Exception from a.cpp:84:\nSummary:\n-- No conversion rule found for operations: Nonsense-18\n\n"
    assert runtimes._reason(RuntimeError(unknown)) == "No conversion rule found for operations: Nonsense-18"
    assert runtimes._reason(RuntimeError("")) == "no reason is given"

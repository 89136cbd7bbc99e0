"""Files for other engines. Core ML's converter takes seconds: its tests are slow ones."""

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from u2net.engines import ENGINES, files_of  # noqa: E402
from u2net.engines.export import export_engine  # noqa: E402
from u2net.errors import InvalidModel, MissingExtra  # noqa: E402
from u2net.inference import runtimes  # noqa: E402
from u2net.models.card import Card  # noqa: E402
from u2net.models.transform import Transform  # noqa: E402
from u2net.net import Stage, U2Net  # noqa: E402
from u2net.net.checkpoint import describe  # noqa: E402
from u2net.net.export import to_onnx  # noqa: E402

PACKAGES = {".xml": "openvino", ".tflite": "ai_edge_litert", ".param": "ncnn", ".mlpackage": "coremltools"}
RUNNABLE = [suffix for suffix, engine in ENGINES.items() if engine.open]
ODD = Card("odd", Transform(size=(61, 43)))


def new_network(num_classes: int = 1) -> U2Net:
    """Five stages, one of them dilated, with biases and normalisations that do something."""
    rows = [(4, False, 3, 4, 8), (3, False, 8, 4, 8), (3, True, 8, 4, 8), (3, False, 16, 4, 8), (4, False, 16, 4, 8)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = U2Net([Stage(*row) for row in rows], num_classes)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias, std=0.3)
        return network.eval()


@pytest.fixture(scope="module")
def network() -> U2Net:
    """Shared: not to be changed."""
    return new_network()


def noise() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, 3, 43, 61), np.float32)


def maps_of(network: U2Net) -> np.ndarray:
    with torch.no_grad():
        return network.saliency(torch.from_numpy(noise())).numpy()


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("suffix", RUNNABLE)
def test_an_engine_gives_the_maps_of_torch_at_an_odd_size_and_has_its_card_beside_it(tmp_path, network, suffix):
    pytest.importorskip(PACKAGES[suffix])
    path = tmp_path / f"a{suffix}"
    written = export_engine(network, path, ODD)
    assert written.difference < 1e-4
    np.testing.assert_allclose(ENGINES[suffix].open(path)(noise()), maps_of(network), atol=1e-4)
    assert sorted(tmp_path.iterdir()) == sorted(files_of(path))
    card = tmp_path / f"a{suffix}.json"
    assert Card.from_json(card.read_text()) == describe(network, ODD)
    assert written.num_bytes == sum(map(len, content(tmp_path).values())) - card.stat().st_size


@pytest.mark.parametrize("suffix", RUNNABLE)
def test_an_engine_gives_a_map_for_each_of_several_classes(tmp_path, suffix):
    pytest.importorskip(PACKAGES[suffix])
    network = new_network(3)
    export_engine(network, tmp_path / f"a{suffix}", ODD)
    np.testing.assert_allclose(ENGINES[suffix].open(tmp_path / f"a{suffix}")(noise()), maps_of(network), atol=1e-4)


@pytest.mark.parametrize("suffix", RUNNABLE)
def test_a_form_that_computes_something_else_is_refused_and_leaves_the_old_files(
    tmp_path, network, suffix, monkeypatch
):
    pytest.importorskip(PACKAGES[suffix])
    for file in files_of(tmp_path / f"a{suffix}"):
        file.write_bytes(b"old")
    write, other = ENGINES[suffix].write, new_network()
    with torch.no_grad():
        other.fuse.bias += 0.1
    wrong = ENGINES[suffix]._replace(write=lambda _, path: write(to_onnx(other, ODD, static=True), path))
    monkeypatch.setitem(ENGINES, suffix, wrong)
    with pytest.raises(InvalidModel, match=r"differs from torch by 0\.0"):
        export_engine(network, tmp_path / f"a{suffix}", ODD)
    assert set(content(tmp_path).values()) == {b"old"}


@pytest.mark.parametrize("suffix", ENGINES)
def test_a_missing_package_is_named_and_leaves_nothing(tmp_path, network, suffix, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGES[suffix], None)
    monkeypatch.setattr(runtimes, "_openvino_core", runtimes._openvino_core.__wrapped__)  # it may be open already
    with pytest.raises(MissingExtra, match=r"pip install 'u2net\[\w+\]'"):
        export_engine(network, tmp_path / f"a{suffix}", ODD)
    assert content(tmp_path) == {}


def test_a_folder_that_is_missing_is_named_as_it_was_given(tmp_path, network):
    with pytest.raises(FileNotFoundError) as raised:
        export_engine(network, tmp_path / "none/a.param", ODD)
    assert raised.value.filename == str(tmp_path / "none/a.param")


def test_an_ncnn_text_counts_its_layers_and_names_its_ends(tmp_path, network):
    pytest.importorskip("ncnn")
    export_engine(network, tmp_path / "a.param", ODD)
    magic, counts, *layers = (tmp_path / "a.param").read_text().splitlines()
    assert (magic, int(counts.split()[0])) == ("7767517", len(layers))
    assert layers[0].split()[-1] == "input"
    assert "saliency" in layers[-1].split()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # its own
@pytest.mark.parametrize("num_classes", [1, 3])
def test_core_mls_program_read_back_and_computed_by_torch_gives_the_same_maps(tmp_path, num_classes):
    """It does not run here: its operations are read by their documented meaning."""
    pytest.importorskip("coremltools")
    network, path = new_network(num_classes), tmp_path / "a.mlpackage"
    for _ in range(2):  # the second replaces the first
        assert export_engine(network, path, ODD).difference is None
    assert sorted(tmp_path.iterdir()) == sorted(files_of(path))
    found = compute(path, torch.from_numpy(noise()[:1]))
    np.testing.assert_allclose(found.numpy(), maps_of(network)[:1], atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # its own
def test_a_core_ml_package_with_an_operation_too_few_is_refused(tmp_path, network, monkeypatch):
    pytest.importorskip("coremltools")
    from u2net.engines import coreml

    add = coreml._add
    monkeypatch.setattr(coreml, "_add", lambda b, step, x: x[0] if step.kind == "Sigmoid" else add(b, step, x))
    with pytest.raises((InvalidModel, KeyError)):
        export_engine(network, tmp_path / "a.mlpackage", ODD)
    assert content(tmp_path) == {}


def compute(path: Path, picture: torch.Tensor) -> torch.Tensor:
    """What an ML program of ours gives."""
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load

    functional = torch.nn.functional

    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    program = load(spec, spec.specificationVersion, str(path / "Data/com.apple.CoreML/weights"))
    maps = {"input": picture}
    for operation in program.functions["main"].operations:
        kind = operation.op_type
        if kind == "const":
            continue
        given = {k: v for k, v in operation.inputs.items() if v is not None}
        value = {k: v.val for k, v in given.items() if not isinstance(v, (list, tuple)) and v.val is not None}
        x = maps.get(given["x"].name) if "x" in given else None
        if kind == "conv":
            weight, bias, dilation = (torch.from_numpy(np.array(value[k])) for k in ("weight", "bias", "dilations"))
            assert value["pad_type"] == "same"
            side = weight.shape[-1]
            result = functional.conv2d(
                x, weight, bias, padding=int(dilation[0]) * (side // 2), dilation=tuple(dilation.tolist())
            )
        elif kind == "max_pool":
            assert (value["kernel_sizes"].tolist(), value["strides"].tolist()) == ([2, 2], [2, 2])
            assert (value["pad_type"], bool(value["ceil_mode"])) == ("valid", True)
            result = functional.max_pool2d(x, 2, 2, ceil_mode=True)
        elif kind == "resize_bilinear":
            assert value["sampling_mode"] == "UNALIGN_CORNERS"
            size = (int(value["target_size_height"]), int(value["target_size_width"]))
            result = functional.interpolate(x, size, mode="bilinear", align_corners=False)
        elif kind == "concat":
            assert value["axis"] == 1
            result = torch.cat([maps[v.name] for v in given["values"]], dim=1)
        elif kind == "add":
            result = x + maps[given["y"].name]
        else:
            result = {"relu": torch.relu, "sigmoid": torch.sigmoid, "softmax": lambda x: x.softmax(1)}[kind](x)
        maps[operation.outputs[0].name] = result
    return maps["saliency"]

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pictures import read_image
from PIL import Image

from u2net import Session, Transform, evaluate
from u2net.cli import cli
from u2net.errors import BadPictures, InvalidDataset
from u2net.evaluation.dataset import Source, load_grey
from u2net.evaluation.evaluate import as_dataset, as_predict, measure
from u2net.evaluation.metrics import MAE, MATTING, SALIENCY, FMeasure, Pair
from u2net.evaluation.report import save_curves, save_sheet, to_csv, to_json, to_table
from u2net.models import DEFAULT
from u2net.models.card import METADATA_KEY, Card

TRUTH = np.zeros((30, 40), np.uint8)
TRUTH[5:25, 10:30] = 255


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def data(tmp_path) -> Path:
    """Five pictures whose red channel is their ground truth, and maps of them, some of them off."""
    for i in range(5):
        rgb = np.stack([TRUTH, np.full_like(TRUTH, 90), np.full_like(TRUTH, 20 * i)], axis=-1)
        _save(tmp_path / f"set/images/{i}.png", rgb)
        _save(tmp_path / f"set/masks/{i}.png", TRUTH)
        _save(tmp_path / f"maps/{i}.png", np.roll(TRUTH, i, axis=1))
    return tmp_path


@pytest.fixture
def red() -> Session:
    """A session that answers with the red channel: right about every picture here."""
    transform = Transform(size=(40, 30), mean=(0, 0, 0), std=(1, 1, 1), divisor="255", stretch=False)
    return Session(lambda batch: batch[:, :1], Card("red", transform))


def test_a_perfect_model_scores_perfectly(data, red):
    scores = evaluate(data / "set", red).scores
    best = {"maxF": 1, "MAE": 0, "Fw": 1, "Sm": 1, "relaxF": 1, "IoU": 1, "BIoU": 1}
    assert {name: scores[name] for name in best} == pytest.approx(best, abs=1e-6)


def test_maps_are_scored_as_the_measures_score_them_one_by_one(data):
    result = evaluate(data / "set", maps=data / "maps", measures=[MAE, FMeasure])
    alone = [MAE(), FMeasure()]
    for i in range(5):
        pair = Pair(np.array(read_image(data / f"maps/{i}.png")), TRUTH)
        rows = [measure.step(pair) for measure in alone]
        assert result.pictures[i] == {"name": str(i)} | rows[0] | rows[1]
    assert result.scores == alone[0].results() | alone[1].results()


def test_maps_need_no_pictures(data):
    assert evaluate(masks=data / "set/masks", maps=data / "maps").num_pictures == 5


def test_maps_of_another_size_are_resized_on_request_and_the_table_says_so(data):
    for i in (0, 3):
        _save(data / f"maps/{i}.png", np.array(read_image(data / f"maps/{i}.png").resize((20, 15))))
    with pytest.raises(BadPictures, match="20×15 pixels, its mask 40×30"):
        evaluate(data / "set", maps=data / "maps")
    result = evaluate(data / "set", maps=data / "maps", resize_maps=True, measures=[MAE])
    fitted = read_image(data / "maps/3.png").resize((40, 30), Image.Resampling.BILINEAR)
    assert result.pictures[3]["MAE"] == MAE().step(Pair(np.array(fitted), TRUTH))["MAE"]
    assert "| set | maps | 5 (2 maps resized) |" in to_table([result])
    assert json.loads(to_json([result]))[0]["num_resized"] == 2
    assert "resized" not in to_table([evaluate(data / "set", maps=data / "set/masks", resize_maps=True)])


def test_maps_resized_in_parts_are_counted_together(data):
    _save(data / "maps/1.png", TRUTH[::2, ::2])
    _save(data / "maps/4.png", TRUTH[::2, ::2])
    dataset, (predict, _) = as_dataset(data / "set"), as_predict(None, data / "maps")
    whole, other = (measure(dataset.part(i, 2), predict, "maps", resize_maps=True) for i in range(2))
    whole.merge(other)
    assert whole.evaluation().num_resized == 2


def test_maps_may_have_an_ending_that_pictures_have_not(data):
    for i in range(5):
        (data / f"maps/{i}.png").rename(data / f"maps/{i}_sal_fuse.png")
        _save(data / f"maps/{i}_sal_1.png", np.zeros_like(TRUTH))
    for suffix in ("_sal_fuse", "_sal_fuse.png"):
        assert evaluate(data / "set", maps=data / "maps", map_suffix=suffix, measures=[MAE]).num_pictures == 5
    with pytest.raises(InvalidDataset, match=r"no map of .* ends in _fused"):
        evaluate(data / "set", maps=data / "maps", map_suffix="_fused")


def test_masks_may_have_an_ending_that_pictures_have_not(data):
    for i in range(5):
        (data / f"set/masks/{i}.png").rename(data / f"set/masks/{i}_mask.png")
    assert evaluate(data / "set", maps=data / "maps", mask_suffix="_mask").num_pictures == 5


def test_mattes_are_measured_on_request(data, red):
    assert evaluate(data / "set", red, measures=MATTING).scores["SAD"] == 0


def test_names_tell_data_and_model(data, red):
    result = evaluate(data / "set", red)
    assert (result.dataset, result.model, result.num_pictures) == ("set", "red", 5)
    assert evaluate(data / "set", red, name="mine").model == "mine"


def test_the_default_model_is_taken(data):
    assert evaluate(as_dataset(data / "set").part(0, 5)).model == DEFAULT


def test_grey_truth_is_cut_above_the_threshold(data, red):
    for path in (data / "set/masks").iterdir():
        _save(path, TRUTH // 2)
    assert evaluate(data / "set", red, threshold=126).scores["IoU"] == 1
    assert evaluate(data / "set", red, threshold=127).scores["IoU"] == 0
    with pytest.raises(ValueError, match="threshold"):
        evaluate(data / "set", red, threshold=255)


@pytest.mark.parametrize("kind", ["RGB", "P", "1", "LA", "I;16", "zero and one", "alpha"])
def test_masks_of_any_kind_are_the_same_mask(tmp_path, kind):
    mask = Image.fromarray(TRUTH)
    image = {
        "RGB": lambda: mask.convert("RGB"),
        "P": lambda: mask.convert("P"),
        "1": lambda: mask.convert("1"),
        "LA": lambda: mask.convert("LA"),
        "I;16": lambda: Image.fromarray(TRUTH.astype(np.uint16) * 257),
        "zero and one": lambda: Image.fromarray(TRUTH // 255),
        "alpha": lambda: Image.merge("RGBA", [Image.new("L", mask.size, 7)] * 3 + [mask]),
    }[kind]()
    image.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(load_grey(Source(tmp_path / "mask.png")), TRUTH)


FAULTS = {
    "a missing mask": (lambda d: (d / "set/masks/2.png").unlink(), "2", "no mask"),
    "a missing picture": (lambda d: (d / "set/images/2.png").unlink(), "2", "no picture"),
    "a broken picture": (lambda d: (d / "set/images/2.png").write_bytes(b"nonsense"), "2", "not a JPEG"),
    "a cut mask": (lambda d: (d / "set/masks/2.png").write_bytes(b"\x89PNG\r\n\x1a\n"), "2", "broken PNG"),
    "another size": (lambda d: _save(d / "set/masks/2.png", TRUTH[:20]), "2", "40×30 pixels, its mask 40×20"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_measured_is_named_and_fails_the_run(data, red, fault):
    plant, name, words = FAULTS[fault]
    plant(data)
    with pytest.raises(BadPictures, match=words) as caught:
        evaluate(data / "set", red)
    assert [bad for bad, _ in caught.value.failures] == [name]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_measured_is_left_out_on_request(data, red, fault):
    FAULTS[fault][0](data)
    result = evaluate(data / "set", red, skip_bad=True)
    assert (result.num_pictures, len(result.failures)) == (4, 1)
    assert result.scores["IoU"] == 1


def test_a_missing_map_is_named(data):
    (data / "maps/3.png").unlink()
    with pytest.raises(BadPictures, match="3 has no map"):
        evaluate(data / "set", maps=data / "maps")


def test_nothing_measured_is_an_error_even_when_skipping(data, red):
    for path in (data / "set/masks").iterdir():
        path.write_bytes(b"nonsense")
    with pytest.raises(InvalidDataset, match="nothing could be measured"):
        evaluate(data / "set", red, skip_bad=True)


def test_arguments_that_contradict_each_other_are_refused(data, red):
    for wrong in ({}, {"data": data, "masks": data}, {"data": data / "set", "model": red, "maps": data / "maps"}):
        with pytest.raises(ValueError, match="give"):
            evaluate(**wrong)


def test_a_mistake_in_a_measure_is_not_taken_for_a_bad_picture(data, red):
    class Broken(MAE):
        def score(self, pair):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(data / "set", red, measures=[Broken], skip_bad=True)


def test_tables_print_scores_as_papers_do(data, red):
    both = [evaluate(data / "set", red), evaluate(data / "set", maps=data / "maps", name="off_by_some")]
    markdown = to_table(both)
    assert "| set | red | 5 | **1.000** | **.000** |" in markdown
    assert r"off\_by\_some" in to_table(both, "latex")
    assert to_table(both, "latex").count(r"\\") == 3


def test_json_and_csv_hold_every_picture(data, red):
    result = [evaluate(data / "set", red)]
    (loaded,) = json.loads(to_json(result))
    assert len(loaded["pictures"]) == 5
    assert len(loaded["curves"]["precision"]) == 255
    assert len(to_csv(result).splitlines()) == 6


@pytest.mark.parametrize(("name", "start"), [("c.png", b"\x89PNG"), ("c.pdf", b"%PDF"), ("c.svg", b"<?xml")])
def test_curves_are_drawn(data, red, name, start):
    pytest.importorskip("matplotlib")
    save_curves([evaluate(data / "set", red)], data / name)
    assert (data / name).read_bytes().startswith(start)


def test_curves_of_another_kind_are_refused(data, red):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"c\.bmp"):
        save_curves([evaluate(data / "set", red)], data / "c.bmp")


def test_the_sheet_shows_the_worst_first(data):
    dataset, (predict, _) = as_dataset(data / "set"), as_predict(None, data / "maps")
    save_sheet(evaluate(dataset, predict), dataset, predict, data / "sheet.png", 2)
    assert read_image(data / "sheet.png").size[1] == 2 * 210


def _u2net(*arguments) -> Result:
    """Run the command in this process; what it does not expect to go wrong is raised."""
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_prints_the_layout_and_a_table(data):
    result = _u2net(data / "set", "--maps", data / "maps", "--json", data / "e.json", "--csv", data / "e.csv")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "set: pictures: 5 in images/*.png; masks: 5 in masks/*.png\n"
    assert result.stdout.startswith("| data set | model | pictures | maxF |")
    assert json.loads((data / "e.json").read_text())[0]["num_pictures"] == 5


@pytest.fixture
def red_by_name(red, monkeypatch) -> str:
    """The name under which the command opens the session `red`."""
    monkeypatch.setattr("u2net.evaluation.evaluate.new_session", lambda name, **_: {"red": red}[name])
    return "red"


def test_the_command_takes_pictures_and_masks_apart_and_models_side_by_side(data, red_by_name):
    result = _u2net(
        "--images", data / "set/images", "--masks", data / "set/masks", "--maps", data / "maps", "-m", red_by_name
    )
    assert [line.split(" | ")[1] for line in result.stdout.splitlines()[2:]] == ["maps", "red"]


def test_the_command_tells_of_maps_that_nothing_measures(data):
    (data / "set/masks/2.png").unlink()
    result = _u2net("--masks", data / "set/masks", "--maps", data / "maps")
    assert result.exit_code == 0
    assert "maps: 1 maps have no mask and are not measured: 2\n" in result.stderr


def test_the_command_takes_maps_of_another_size_and_name_and_says_how(data):
    for i in range(5):
        _save(data / f"maps/{i}_sal.png", TRUTH[::2, ::2])
        (data / f"maps/{i}.png").unlink()
    told = _u2net(data / "set", "--maps", data / "maps", "--skip-bad")
    assert "--map-suffix _sal takes those that end so" in told.stderr
    told = _u2net(data / "set", "--maps", data / "maps", "--map-suffix", "_sal")
    assert told.exit_code == 1
    assert "5 pictures cannot be measured; --skip-bad leaves them out, and --resize-maps fits maps" in told.stderr
    told = _u2net(data / "set", "--maps", data / "maps", "--map-suffix", "_sal", "--resize-maps")
    assert told.exit_code == 0
    assert "| set | maps | 5 (5 maps resized) |" in told.stdout


def test_the_command_takes_masks_of_another_name(data):
    for i in range(5):
        (data / f"set/masks/{i}.png").rename(data / f"set/masks/{i}_mask.png")
    told = _u2net(data / "set", "--maps", data / "maps")
    assert f"give --images {data}/set/images --masks {data}/set/masks --mask-suffix _mask" in told.stderr
    assert _u2net(data / "set", "--maps", data / "maps", "--mask-suffix", "_mask").exit_code == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_the_command_names_what_is_bad_and_exits_with_1(data, red_by_name, fault):
    FAULTS[fault][0](data)
    result = _u2net(data / "set", "-m", red_by_name)
    assert result.exit_code == 1
    assert FAULTS[fault][2] in result.stderr


@pytest.mark.parametrize("arguments", [["{0}/nowhere"], ["{0}/maps"], ["{0}/empty"], [], ["--masks", "{0}/maps"]])
def test_wrong_and_empty_folders_are_one_clear_line(data, arguments):
    (data / "empty").mkdir()
    result = _u2net(*(argument.format(data) for argument in arguments))
    assert result.exit_code in (1, 2)
    assert result.stderr.strip().splitlines()[-1].startswith(("u2net: ", "Error: "))


# ---- Parts of a data set -------------------------------------------------------------------------------------


def _measured_apart(dataset, model, num, **options):
    predict, name = as_predict(model)
    tallies = [measure(dataset.part(i, num), predict, name, **options) for i in range(num)]
    first, *others = [pickle.loads(pickle.dumps(tally)) for tally in tallies]
    for tally in others:
        first.merge(tally)
    return first


def _assert_same(one, other):
    assert (one.dataset, one.model, one.num_pictures) == (other.dataset, other.model, other.num_pictures)
    assert (one.pictures, one.failures) == (other.pictures, other.failures)
    assert one.scores == pytest.approx(other.scores, rel=1e-12)
    assert list(one.curves) == list(other.curves)
    for name, curve in one.curves.items():
        np.testing.assert_allclose(curve, other.curves[name], rtol=1e-12)


@pytest.mark.parametrize("num", [1, 2, 7])
def test_parts_that_were_measured_apart_make_the_same_evaluation(data, num):
    dataset, maps = as_dataset(data / "set"), as_predict(None, data / "maps")[0]
    for example in dataset:
        example.image.path.write_bytes(b"are not needed")
    _assert_same(_measured_apart(dataset, maps, num).evaluation(), evaluate(dataset, maps))


def test_parts_bring_their_failures_together(data, red):
    (data / "set/images/1.png").write_bytes(b"nonsense")
    (data / "set/masks/4.png").unlink()
    dataset = as_dataset(data / "set")
    tally = _measured_apart(dataset, red, 2)
    with pytest.raises(BadPictures, match=r"1 not a JPEG.*; 4 has no mask"):
        tally.evaluation()
    _assert_same(tally.evaluation(skip_bad=True), evaluate(dataset, red, skip_bad=True))


# ---- Several classes -----------------------------------------------------------------------------------------

CLASSES = ("sky", "cat", "dog|hat")
INDICES = np.array([[0, 0, 1, 1, 255], [0, 1, 1, 2, 255]], np.uint8).repeat(8, 0).repeat(8, 1)
PALETTE = [255, 255, 255, 0, 0, 0, 90, 90, 90] + [1, 2, 3] * 253
RGB_CARD = Card(
    "rgb", Transform(size=(40, 16), mean=(0, 0, 0), std=(1, 1, 1), divisor="255", stretch=False), classes=CLASSES
)


@pytest.fixture
def classes(tmp_path) -> Path:
    """Two pictures whose brightest channel is their class, but where it is red by mistake; masks have a palette."""
    for name, wrong in (("a", slice(0)), ("b", slice(16, 24))):
        labels = INDICES.copy()
        labels[:, wrong] = 0
        rgb = np.stack([(labels == i) * np.uint8(200) for i in range(3)], axis=-1)
        rgb[labels == 255] = (0, 200, 0)
        _save(tmp_path / f"set/images/{name}.png", rgb)
        mask = Image.fromarray(INDICES)
        mask.putpalette(PALETTE)
        (tmp_path / "set/masks").mkdir(exist_ok=True)
        mask.save(tmp_path / f"set/masks/{name}.png")
    return tmp_path


@pytest.fixture
def rgb() -> Session:
    """A session with three classes, whose probabilities are the picture's channels."""
    return Session(lambda batch: batch, RGB_CARD)


def test_a_model_with_several_classes_is_measured_on_indices(classes, rgb):
    result = evaluate(classes / "set", rgb)
    right = {"mIoU": 1.0, "accuracy": 1.0, "IoU sky": 1.0, "IoU cat": 1.0, "IoU dog|hat": 1.0}
    assert result.pictures[0] == {"name": "a"} | right
    # Of 2 × 8 blocks, the third column of b, two of cat, is taken for sky.
    assert result.scores["accuracy"] == 14 / 16
    assert result.scores["IoU sky"] == pytest.approx(6 / 8)
    assert result.scores["IoU cat"] == pytest.approx(6 / 8)
    assert result.curves == {}


def test_the_ignored_index_can_be_chosen_and_an_unknown_one_is_a_bad_mask(classes, rgb):
    with pytest.raises(BadPictures, match="a has the index 255 in its mask, classes are 0 to 2"):
        evaluate(classes / "set", rgb, ignore_index=0)
    assert evaluate(classes / "set", rgb, ignore_index=255).num_pictures == 2


def test_a_mask_in_colour_is_a_bad_mask(classes, rgb):
    Image.new("RGB", (40, 16)).save(classes / "set/masks/b.png")
    with pytest.raises(BadPictures, match="b a PNG picture of mode RGB stores no indices"):
        evaluate(classes / "set", rgb)


def test_classes_take_no_other_measures(classes, rgb):
    with pytest.raises(ValueError, match="ClassIoU alone"):
        evaluate(classes / "set", rgb, measures=SALIENCY)


def test_parts_of_several_classes_make_the_same_evaluation(classes, rgb):
    dataset = as_dataset(classes / "set")
    _assert_same(_measured_apart(dataset, rgb, 2).evaluation(), evaluate(dataset, rgb))


def test_tables_have_a_column_for_each_class(classes, rgb):
    result = evaluate(classes / "set", rgb)
    assert to_table([result]).splitlines() == [
        r"| data set | model | pictures | mIoU | accuracy | IoU sky | IoU cat | IoU dog\|hat |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| set | rgb | 2 | .833 | .875 | .750 | .750 | 1.000 |",
    ]
    assert r"IoU dog|hat \\" in to_table([result], "latex")


def test_what_was_not_measured_is_a_dash_in_tables_and_empty_in_csv(classes, rgb):
    whole = evaluate(classes / "set", rgb, name="whole")
    few = replace(whole, model="few", scores={"mIoU": 0.5}, pictures=[{"name": "a", "mIoU": 0.5}])
    assert "| few | 2 | .500 | – | – | – | – |" in to_table([few, whole])
    assert "set,few,a,0.5,,,," in to_csv([few, whole])


def test_curves_of_classes_are_refused(classes, rgb):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="rgb has no curves"):
        save_curves([evaluate(classes / "set", rgb)], classes / "c.png")


def test_the_sheet_shows_classes_in_the_colours_of_pascal_voc(classes, rgb):
    dataset, (predict, _) = as_dataset(classes / "set"), as_predict(rgb)
    save_sheet(evaluate(dataset, predict), dataset, predict, classes / "sheet.png", 1)
    sheet = np.array(read_image(classes / "sheet.png"))
    truth, labels = (sheet[26:42, x : x + 40] for x in (8 + 248, 8 + 2 * 248))
    colours = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 255: (224, 224, 192)}
    for index, colour in colours.items():
        assert (truth[index == INDICES] == colour).all()
    assert (labels[:, 16:24] == colours[0]).all()  # b, the worse of the two, comes first


def _save_rgb_model(path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", 3, "height", "width"])
        for name in ("input", "output")
    ]
    identity = onnx.helper.make_node("Identity", ["input"], ["output"])
    graph = onnx.helper.make_graph([identity], "rgb", *([end] for end in ends))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.helper.set_model_props(model, {METADATA_KEY: RGB_CARD.to_json()})
    onnx.save(model, path)


def test_the_command_measures_several_classes_by_itself(classes):
    _save_rgb_model(classes / "multi.onnx")
    options = ("--json", classes / "e.json", "--csv", classes / "e.csv", "--sheet", classes / "sheet.png")
    result = _u2net(classes / "set", "-m", classes / "multi.onnx", *options)
    assert result.exit_code == 0, result.stderr
    assert "| set | rgb | 2 | .833 | .875 |" in result.stdout
    assert json.loads((classes / "e.json").read_text())[0]["scores"]["accuracy"] == 14 / 16
    assert len((classes / "e.csv").read_text().splitlines()) == 3
    assert (classes / "sheet.png").is_file()


@pytest.mark.parametrize("option", [("--plot", "c.png"), ("--mattes",)])
def test_the_command_refuses_what_classes_do_not_have(classes, option):
    _save_rgb_model(classes / "multi.onnx")
    result = _u2net(classes / "set", "-m", classes / "multi.onnx", *option)
    assert result.exit_code == 2
    assert result.stderr.startswith("u2net: a model with several classes has no curves to --plot")
    assert result.stderr.count("\n") == 1


def test_the_command_refuses_curves_of_another_kind_before_it_measures(data):
    result = _u2net(data / "set", "--maps", data / "maps", "--plot", data / "c.bmp")
    assert result.exit_code == 2
    assert result.stderr == "u2net: --plot draws .png, .pdf, .svg, not c.bmp\n"
    assert result.stdout == ""

import json
from dataclasses import asdict, fields, replace

import pytest

from u2net.training import FINETUNE, MODERN, PAPER, PRESETS, SMOKE, TrainConfig

# ---- What is refused -----------------------------------------------------------------------------------------

OUT_OF_RANGE = [
    *[("holdout", value) for value in (-0.1, 0.91)],
    *[("ignore_index", value) for value in (-1, 256)],
    *[("size", value) for value in (31, 4097)],
    *[("crop", value) for value in (31, 321)],
    *[(name, -0.1) for name in ("bce", "iou", "ssim", "edge", "clip_norm", "weight_decay", "lr", "ema")],
    *[("lr", 101.0), ("weight_decay", 1.1), ("ema", 1.0)],
    *[(name, 0) for name in ("batch_size", "accumulate", "checkpoint_every", "sample_every", "keep")],
    *[("epochs", value) for value in (0, -1.0, 2e6)],
    *[(name, -1) for name in ("warmup_steps", "max_steps", "patience", "seed", "workers", "validate_every")],
    *[("seed", 2**63), ("workers", 257), ("keep", 1001)],
]

OF_ANOTHER_KIND = [
    *[("data", value) for value in ("folder", None, (1,))],
    *[("weights", value) for value in (1.0, ("1",), (True,))],
    *[(name, 3) for name in ("images", "masks", "init", "validation", "model", "device", "on_bad", "classes")],
    *[(name, value) for name in ("freeze", "teachers") for value in ("sides", (1,))],
    *[(name, value) for name in ("compile", "freeze_norm", "deterministic") for value in (1, "yes")],
    *[(name, value) for name in ("size", "batch_size", "seed", "workers", "max_steps") for value in (64.0, "64", True)],
    *[(name, value) for name in ("lr", "epochs", "bce", "ema") for value in ("1", None, True)],
    *[(name, value) for name in ("lr", "epochs", "iou", "clip_norm") for value in (float("nan"), float("inf"))],
    *[("model", "u3net"), ("augment", "strong"), ("optimizer", "sgd"), ("schedule", "linear"), ("cache", "ram")],
    *[("precision", "fp8"), ("best_by", "accuracy"), ("feeding", "ours"), ("on_bad", "ignore")],
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE + OF_ANOTHER_KIND)
def test_a_value_out_of_range_or_of_another_kind_is_refused_by_the_fields_name(name, value):
    with pytest.raises(ValueError, match=f"^{name} is ") as caught:
        TrainConfig(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("weights", (1.0,), "as many as data"),
        ("images", "pictures", "images and masks go together"),
        ("masks", "masks", "images and masks go together"),
        ("classes", ("one",), "two different names"),
        ("classes", ("one", "one"), "two different names"),
        ("class_weights", (1.0,), "as many as classes"),
        ("class_weights", (1.0, -1.0), "none below 0"),
        ("side_weights", (1.0,) * 6, "seven"),
        ("side_weights", (0.0,) * 7, "one above"),
        ("side_weights", (-1.0,) + (1.0,) * 6, "none below 0"),
        ("bce", 0.0, "one of bce, iou and ssim"),
        ("feeding", "checkpoint", "needs init"),
    ],
)
def test_a_value_that_does_not_go_with_the_others_is_refused_by_the_fields_name(name, value, words):
    with pytest.raises(ValueError, match=words) as caught:
        TrainConfig(**{name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_weights_of_data_are_above_zero(weight):
    with pytest.raises(ValueError, match="weights"):
        TrainConfig(data=("a", "b"), weights=(1.0, weight))


def test_similarity_is_refused_for_several_classes():
    with pytest.raises(ValueError, match="ssim is for two classes"):
        TrainConfig(classes=("none", "cat", "dog"), ssim=1.0)


def test_weights_of_classes_are_refused_for_one_subject():
    with pytest.raises(ValueError, match="class_weights are for three"):
        TrainConfig(class_weights=(1.0, 2.0))


def test_a_number_too_long_for_floating_point_is_refused():
    with pytest.raises(ValueError, match="lr is"):
        TrainConfig(lr=10**400)


@pytest.mark.parametrize(
    ("name", "value"), [("crop", 320), ("holdout", 0), ("lr", 1), ("ema", 0.999999), ("workers", 256)]
)
def test_the_ends_of_ranges_and_whole_numbers_pass(name, value):
    assert getattr(TrainConfig(**{name: value}), name) == value


# ---- JSON ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)
def test_json_gives_the_same_configuration_back(config):
    changed = replace(config, data=("an archive.tar", "ordner/ä"), weights=(1.0, 0.5), classes=("a", "b\n"))
    assert TrainConfig.from_json(changed.to_json()) == changed
    assert json.loads(changed.to_json()).keys() == asdict(changed).keys()


def test_fields_that_json_lacks_have_their_defaults():
    assert TrainConfig.from_json('{"lr": 0.5}') == TrainConfig(lr=0.5)


def test_options_of_0_1_0_that_are_gone_pass_at_their_defaults():
    retired = {"sync_norm": False, "skip_nonfinite": 0, "positive_weight": 1.0}
    for layout in (True, False):
        fields = {"lr": 0.5, "channels_last": layout} | retired
        assert TrainConfig.from_json(json.dumps(fields)) == TrainConfig(lr=0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"positive_weight": 2.0}', "positive_weight is no longer supported, got 2.0"),
        ('{"learning_rate": 0.5}', "unknown field 'learning_rate'"),
        ('{"lr": "fast"}', "lr is of type float"),
        ('{"lr": NaN}', "lr is of type float"),
        ('{"data": "folder"}', "data is of type tuple"),
        ('{"data": null}', "data is of type tuple"),
        ('{"model": {}}', "model is one of u2netp, u2net"),
        ("[]", "expected a JSON object"),
        ("{", "not a configuration"),
        ("[" * 100_000, "not a configuration"),
        ("", "not a configuration"),
    ],
)
def test_json_that_is_no_configuration_is_refused_in_one_line(text, words):
    with pytest.raises(ValueError, match=words) as caught:
        TrainConfig.from_json(text)
    assert "\n" not in str(caught.value)


# ---- What another configuration would change -----------------------------------------------------------------

FREE = {"workers": 7, "cache": "disk", "checkpoint_every": 7, "sample_every": 7, "keep": 7, "patience": 7}
LENGTH = {"epochs": 7.0, "max_steps": 7}


@pytest.mark.parametrize(("name", "value"), FREE.items())
@pytest.mark.parametrize("begun", [TrainConfig(), TrainConfig(schedule="cosine")], ids=["constant", "cosine"])
def test_what_leaves_the_course_of_a_run_may_change(begun, name, value):
    assert begun.differences(replace(begun, **{name: value})) == []


@pytest.mark.parametrize(("name", "value"), LENGTH.items())
def test_a_run_may_become_longer_where_the_learning_rate_is_constant(name, value):
    begun = TrainConfig()
    assert begun.differences(replace(begun, **{name: value})) == []


@pytest.mark.parametrize(("name", "value"), LENGTH.items())
def test_a_run_may_not_become_longer_where_the_learning_rate_depends_on_its_length(name, value):
    begun = TrainConfig(schedule="cosine")
    (line,) = begun.differences(replace(begun, **{name: value}))
    assert line.startswith(f"{name}: ")
    assert line.endswith(f" -> {value!r}")


OTHERS = {
    "data": ("b", "c"), "weights": (1.0,), "mask_suffix": "_m", "validation": ("v",), "holdout": 0.1, "on_bad": "skip",
    "classes": ("a", "b"), "ignore_index": 0, "model": "u2net", "init": "u2netp", "freeze": ("sides",),
    "freeze_norm": True, "teachers": ("u2netp",), "looks": ("plain",), "feeding": "antialiased", "size": 640,
    "crop": 64, "augment": "none", "bce": 2.0, "iou": 1.0, "ssim": 1.0, "edge": 1.0, "side_weights": (2.0,) * 7,
    "optimizer": "adamw", "lr": 0.1, "schedule": "cosine", "warmup_steps": 1,
    "weight_decay": 0.1, "clip_norm": 1.0, "ema": 0.9, "batch_size": 1, "accumulate": 2, "seed": 1, "device": "cpu",
    "precision": "fp32", "compile": True, "checkpointing": True,
    "deterministic": True, "best_by": "MAE", "validate_every": 7,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), OTHERS.items())
def test_what_makes_another_run_is_told_with_both_values(name, value):
    begun = TrainConfig(data=("a",))
    other = replace(begun, **{name: value})
    assert begun.differences(other) == [f"{name}: {getattr(begun, name)!r} -> {value!r}"]


def test_every_field_was_tried():
    tried = FREE.keys() | LENGTH.keys() | OTHERS.keys()
    assert {field.name for field in fields(TrainConfig)} - tried == {"images", "masks", "class_weights"}


# ---- Recipes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("optimizer", "adam"), ("lr", 1e-3), ("weight_decay", 0), ("schedule", "constant"), ("warmup_steps", 0)],
        *[("size", 320), ("crop", 288), ("batch_size", 12), ("accumulate", 1), ("augment", "paper")],
        *[("bce", 1), ("iou", 0), ("ssim", 0), ("edge", 0), ("side_weights", (1,) * 7)],
        *[("ema", 0), ("clip_norm", 0), ("freeze_norm", False), ("init", None), ("feeding", "authors")],
    ],
)
def test_the_papers_recipe_is_the_papers(name, value):
    """Sections 3.3 and 4.3 of the paper, and the authors' script."""
    assert getattr(PAPER, name) == value


def test_the_papers_recipe_is_as_long_as_the_papers():
    assert PAPER.holdout == 0  # all 10,553 pictures of DUTS-TR are trained on
    assert PAPER.epochs * 10_553 / 12 == pytest.approx(600_000, rel=1e-3)


def test_recipes_differ_in_what_they_are_for():
    assert (MODERN.optimizer, MODERN.schedule, MODERN.ema > 0.99, MODERN.clip_norm > 0) == (
        "adamw",
        "cosine",
        True,
        True,
    )
    assert (FINETUNE.init, FINETUNE.feeding, FINETUNE.freeze_norm) == ("u2netp", "checkpoint", True)
    assert FINETUNE.lr <= MODERN.lr / 10
    assert FINETUNE.patience > 0
    assert (SMOKE.holdout, SMOKE.workers, SMOKE.crop) == (0, 0, 128)


def test_single_pictures_of_the_least_crop_are_refused_unless_norms_are_frozen():
    with pytest.raises(ValueError, match="batches of 1 need a crop above 32"):
        TrainConfig(batch_size=1, crop=32)
    TrainConfig(batch_size=1, crop=32, freeze_norm=True)

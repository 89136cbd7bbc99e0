import json

import pytest

from u2net.models.card import Card
from u2net.models.transform import REMBG


def test_json_round_trip():
    card = Card("mine", REMBG, ("background", "hat", "coat"), "MIT", "me", "ab" * 32, 7, {"ECSSD maxF": 0.9}, 1.5)
    assert Card.from_json(card.to_json()) == card


def test_absent_fields_take_their_defaults():
    assert Card.from_json('{"name": "x"}') == Card("x")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"name": 3},
        {"name": "x", "classes": ["only one"]},
        {"name": "x", "classes": [1, 2]},
        {"name": "x", "classes": 5},
        {"name": "x", "scores": []},
        {"name": "x", "sharpness": 0},
        {"name": "x", "sharpness": "much"},
        {"name": "x", "scores": {"MAE": "low"}},
        {"name": "x", "num_parameters": "many"},
        {"name": "x", "transform": {"size": "big"}},
        {"name": "x", "transform": 3},
        {"name": "x", "author": "unknown field"},
    ],
)
def test_fields_of_the_wrong_kind_are_refused(values):
    with pytest.raises(ValueError, match=r"Card|Transform|model card"):
        Card.from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_anything_but_a_json_object_is_refused(text):
    with pytest.raises(ValueError, match="model card"):
        Card.from_json(text)

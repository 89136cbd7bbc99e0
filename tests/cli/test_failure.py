import io
import json
import tarfile
from dataclasses import replace

import pytest
from networks import RED_MODEL
from PIL import Image

from u2net.errors import printable
from u2net.models.card import METADATA_KEY
from u2net.models.onnx_file import OnnxFile

EVIL = "x\x1b]0;owned\x07\x1b[2J\n\x7f\x9b31m\u2028\u202e\U000e0001\udce9y"
SPELLED = r"x\x1b]0;owned\x07\x1b[2J\n\x7f\x9b31m\u2028\u202e\U000e0001\udce9y"


def _is_harmless(*outputs: bytes) -> bool:
    return all(c.isprintable() or c == "\n" for output in outputs for c in output.decode())


def test_what_moves_a_cursor_or_breaks_a_line_is_spelled_out():
    assert printable(EVIL) == SPELLED
    assert printable("U²-Net † 写真 é") == "U²-Net † 写真 é"


def test_json_stays_json_where_it_is_made_printable():
    text = printable(json.dumps(EVIL, ensure_ascii=False), as_json=True)
    assert text.isprintable()
    assert json.loads(text) == EVIL


@pytest.fixture
def evil_model(tmp_path):
    """A model whose card says what a terminal would obey."""
    name = EVIL.replace("\udce9", "")  # is no text of ONNX
    card = replace(OnnxFile.read(RED_MODEL).card(None), name=name, source=name, licence=name, scores={name: 1.0})
    entry = b"".join(
        bytes([tag, *_varint(len(text))]) + text
        for tag, text in ((0x0A, METADATA_KEY.encode()), (0x12, card.to_json().encode()))
    )
    path = tmp_path / "evil.onnx"
    path.write_bytes(RED_MODEL.read_bytes() + bytes([0x72, *_varint(len(entry))]) + entry)  # metadata_props
    return path


def _varint(number: int) -> bytes:
    return bytes([number & 127 | 128, number >> 7]) if number > 127 else bytes([number])


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_card_cannot_reach_the_terminal(here, evil_model, options):
    result = here("models", "info", evil_model, "--size", "32", "32", *options)
    assert result.returncode == 0
    assert b"owned" in result.stdout
    assert _is_harmless(result.stdout, result.stderr)


def test_members_of_an_archive_cannot_reach_the_terminal(here, evil_model, tmp_path):
    encoded = io.BytesIO()
    Image.new("L", (32, 24), 255).save(encoded, "PNG")
    name = EVIL.replace("\udce9", "")
    with tarfile.open(tmp_path / "d.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for member in (f"images/{name}.png", f"masks/{name}.png", "masks/b.png", f"{name}/c.png"):
            info = tarfile.TarInfo(member)
            info.size = len(encoded.getvalue())
            archive.addfile(info, io.BytesIO(encoded.getvalue()))
    for style in ("markdown", "json"):
        result = here("evaluate", tmp_path / "d.tar", "-m", evil_model, "--skip-bad", "--format", style)
        assert result.returncode == 0
        assert b"owned" in result.stdout
        assert b"owned" in result.stderr
        assert _is_harmless(result.stdout, result.stderr)
    assert _is_harmless(*[getattr(here("check-data", tmp_path / "d.tar"), part) for part in ("stdout", "stderr")])

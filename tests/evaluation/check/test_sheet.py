import numpy as np
import pytest
from pictures import read_image
from PIL import Image
from planted import NUM_SOUND, mask, picture, plant, save_pair, sound

from u2net.errors import UnsupportedFormat
from u2net.evaluation.check import examine, save_sheet
from u2net.evaluation.check.sheet import draw_example
from u2net.evaluation.dataset import open_dataset

ROW = 210 + 8 + 4 * 17 + 14  # picture, gap, four lines, gap


def _pink(image):
    """Pixels with more red and blue than green, as the tint has."""
    r, g, b = np.asarray(image.convert("RGB"), np.int16).transpose(2, 0, 1)
    return (r > g + 40) & (b > g + 20)


def test_the_mask_tints_the_picture_where_it_lies(tmp_path):
    save_pair(tmp_path, "a", 0, shown=Image.new("RGB", (96, 72), "white"))
    drawn = draw_example(open_dataset(tmp_path).examples[0], 2, (96, 72))
    agreement = _pink(drawn) == (np.asarray(mask(0)) > 0)
    assert agreement.mean() > 0.97  # all but the outline


def test_classes_have_colours_of_their_own(tmp_path):
    indices = np.repeat([0, 1, 2, 255], 24)[None].repeat(72, axis=0).astype(np.uint8)
    save_pair(tmp_path, "a", 0, shown=Image.new("RGB", (96, 72), "white"), truth=Image.fromarray(indices))
    drawn = draw_example(open_dataset(tmp_path).examples[0], 3, (96, 72))
    colours = [drawn.getpixel((12 + 24 * part, 36)) for part in range(4)]
    assert colours[0] == (255, 255, 255)
    assert len(set(colours)) == 4


def test_what_does_not_lie_on_the_picture_is_shown_beside_it(tmp_path):
    save_pair(tmp_path, "a", 0, truth=mask(0).resize((48, 36)))
    drawn = draw_example(open_dataset(tmp_path).examples[0], 2, (206, 75))
    right = np.asarray(drawn)[:, 106:]
    assert set(np.unique(right)) >= {0, 255}
    assert not _pink(Image.fromarray(right)).any()


def test_a_sheet_shows_every_fault_and_some_of_the_rest(tmp_path):
    training, validation, expected = plant(tmp_path)
    report = examine(open_dataset(training, strict=False), [open_dataset(validation, strict=False)])
    save_sheet(report, tmp_path / "sheet.png")
    num_faulty = len({name for _, name in expected})
    num_shown = sum(len(examined.dataset) for examined in report.examined)
    assert num_shown > num_faulty + NUM_SOUND
    height = read_image(tmp_path / "sheet.png").height
    assert height // ROW == -(-num_shown // 5)


def test_few_places_go_to_each_kind_before_any_has_two(tmp_path):
    root = sound(tmp_path, 3)
    for index in range(10):
        save_pair(root, f"empty{index}", 40 + index, truth=Image.new("L", (96, 72)))
    save_pair(root, "full", 60, truth=Image.new("L", (96, 72), 255))
    save_sheet(examine(open_dataset(root)), tmp_path / "sheet.png", num=5)
    sheet = read_image(tmp_path / "sheet.png")
    middles = [sheet.getpixel((14 + 294 * column + 4, sheet.height - ROW + 100)) for column in range(5)]
    expected = [picture(40), picture(41), picture(42), picture(60), picture(0)]
    for column, (shown, plain) in enumerate(zip(middles, expected, strict=True)):
        unlike = np.abs(np.subtract(shown, plain.resize((280, 210)).getpixel((4, 100)))).max()
        assert unlike < 30 or column == 3  # the full mask tints


def test_names_that_cannot_be_drawn_do_no_harm(tmp_path):
    save_pair(tmp_path, "喫茶 é\n" + "long " * 30, 0, truth=Image.new("L", (96, 72)))
    save_sheet(examine(open_dataset(tmp_path)), tmp_path / "sheet.jpg")
    assert read_image(tmp_path / "sheet.jpg").width == 5 * 294 + 14


def test_a_sheet_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UnsupportedFormat):
        save_sheet(examine(open_dataset(sound(tmp_path, 2))), tmp_path / "sheet.bmp")

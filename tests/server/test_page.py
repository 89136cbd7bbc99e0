"""The page at `/` in a real browser."""

import hashlib
import zipfile
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw

from u2net.models.table import MODELS

from .browser import brush, chromium, downloaded, drop, opened, wait_for
from .running import opener, running

RED, BLUE, YELLOW = (214, 40, 30), (40, 60, 160), (242, 193, 78)


def red_is_subject(batch):
    """A network that takes what is red for the subject."""
    return (batch[:, :1] > batch[:, 2:3]).astype(np.float32)


def disc(size=(400, 300), exif=None) -> bytes:
    """A red disc in the middle of blue, of half the height."""
    image = Image.new("RGB", size, BLUE)
    x, y, radius = size[0] / 2, size[1] / 2, size[1] / 4
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), RED)
    buffer = BytesIO()
    image.save(buffer, "PNG", exif=exif or Image.Exif())
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)).convert("RGBA")).astype(int)


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def place():
    with running(opener(red_is_subject)) as place:
        yield place


@pytest.fixture
def page(browser, place):
    with opened(browser, place) as page:
        yield page


@pytest.fixture
def one(page):
    """The page with one picture that is done."""
    drop(page, {"disc.png": disc()})
    wait_for(page, 1)
    return page


# ---- In and out ----------------------------------------------------------------------------------------------


def test_three_dropped_pictures_become_three_results(page):
    drop(page, {f"{name}.png": disc() for name in "abc"})
    wait_for(page, 3)
    assert page.locator("#strip .name").all_inner_texts() == ["a.png", "b.png", "c.png"]
    assert page.get_by_role("status").inner_text() == "3 of 3 done."


def test_pictures_can_be_pasted(page):
    page.evaluate(
        """(bytes) => {
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([Uint8Array.from(bytes)], "image.png", { type: "image/png" }));
            document.dispatchEvent(new ClipboardEvent("paste", { clipboardData }));
        }""",
        list(disc()),
    )
    wait_for(page, 1)
    assert page.locator("#strip .name").all_inner_texts() == ["image.png"]


def test_an_untouched_result_is_the_services_own_file(one, place):
    name, content = downloaded(one, "Download")
    assert name == "disc.out.png"
    assert content == place.post("/api/remove", {"file": disc()}).body


def test_all_results_come_in_an_archive_under_different_names(page):
    drop(page, {"1/disc.png": disc(), "2/disc.png": disc((200, 160)), "other.png": disc((90, 90))})
    wait_for(page, 3)
    name, content = downloaded(page, "Download all 3 as ZIP")
    assert name == "cut-outs.zip"
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert archive.testzip() is None
        sizes = {name: Image.open(BytesIO(archive.read(name))).size for name in archive.namelist()}
    assert sizes == {"disc.out.png": (400, 300), "disc.out-2.png": (200, 160), "other.out.png": (90, 90)}


def test_results_can_be_webp(one):
    one.get_by_text("WebP", exact=True).click()
    name, content = downloaded(one, "Download")
    assert name == "disc.out.webp"
    image = Image.open(BytesIO(content))
    assert (image.format, image.mode, image.size) == ("WEBP", "RGBA", (400, 300))


def test_a_picture_that_is_broken_says_so_and_leaves_the_others_alone(page):
    drop(page, {"broken.png": b"\x89PNG\r\n\x1a\nnothing", "disc.png": disc()})
    wait_for(page, 1, "failed")
    page.get_by_text("broken.png: This browser cannot read the picture.").wait_for()
    page.get_by_role("button", name="disc.png Done").click()
    wait_for(page, 1)
    assert downloaded(page, "Download")[0] == "disc.out.png"


def test_what_is_no_picture_is_not_taken(page):
    drop(page, {"notes.txt": b"hello"})
    assert page.get_by_role("status").inner_text() == "1 of these are no pictures."
    assert page.locator("#welcome").is_visible()


def test_removing_the_last_picture_begins_anew(one):
    one.get_by_role("button", name="Remove disc.png").click()
    assert one.locator("#welcome").is_visible()
    assert one.locator("#workspace").is_hidden()


def test_a_busy_service_is_asked_again(browser):
    with running(opener(red_is_subject), pool=1, queue=0) as place, opened(browser, place) as page:
        drop(page, {f"{name}.png": disc() for name in "abcd"})
        wait_for(page, 4)
        assert page.get_by_role("status").inner_text() == "4 of 4 done."


def test_a_service_that_wants_a_key_is_given_one(browser):
    key = "client:" + hashlib.sha256(b"secret").hexdigest()
    with running(opener(red_is_subject), api_keys=(key,)) as place, opened(browser, place) as page:
        drop(page, {"a.png": disc(), "b.png": disc()})
        page.get_by_label("Key", exact=True).fill("secret")
        page.get_by_role("button", name="Go on").click()
        wait_for(page, 2)
        assert page.get_by_role("status").inner_text() == "2 of 2 done."


# ---- Outlines ------------------------------------------------------------------------------------------------


def test_better_outlines_are_asked_for_and_come(one, place):
    one.get_by_text("Finest", exact=True).click()
    wait_for(one, 1)
    best = place.post("/api/remove", {"file": disc(), "quality": "best"}).body
    assert best != place.post("/api/remove", {"file": disc()}).body
    assert downloaded(one, "Download")[1] == best


def test_better_outlines_leave_what_was_retouched_as_it_is(page):
    drop(page, {"a.png": disc(), "b.png": disc()})
    wait_for(page, 2)
    brush(page, "Erase", (0.45, 0.5), (0.55, 0.5))
    page.get_by_text("Fine", exact=True).click()
    page.get_by_role("status").get_by_text("2 of 2 done.").wait_for(state="attached")
    assert pixels(downloaded(page, "Download")[1])[150, 200, 3] == 0


# ---- Background ----------------------------------------------------------------------------------------------


def test_a_colour_is_put_behind_all_results(one):
    one.locator(".swatch", has_text="yellow").click()
    result = pixels(downloaded(one, "Download")[1])
    assert tuple(result[0, 0]) == (*YELLOW, 255)
    assert tuple(result[150, 200]) == (*RED, 255)


def test_a_model_can_be_chosen_and_says_what_it_is_for(browser):
    with (
        running(opener(red_is_subject), models=("u2netp", "u2net", "mine.onnx")) as place,
        opened(browser, place) as page,
    ):
        drop(page, {"disc.png": disc()})
        wait_for(page, 1)
        choice = page.get_by_label("Model")
        says = [
            page.locator("#purpose").text_content()
            for name in ("u2netp", "u2net", "mine")
            if choice.select_option(name)
        ]
        assert says == [MODELS["u2netp"].purpose, MODELS["u2net"].purpose, ""]


def test_another_colour_is_put_behind(one):
    one.get_by_label("Background of another colour").fill("#00ff00")
    assert tuple(pixels(downloaded(one, "Download")[1])[0, 0]) == (0, 255, 0, 255)


def test_a_picture_is_put_behind_and_covers_all(one):
    half = Image.new("RGB", (40, 40), (0, 255, 0))
    half.paste((255, 255, 255), (20, 0, 40, 40))
    buffer = BytesIO()
    half.save(buffer, "PNG")
    files = [{"name": "half.png", "mimeType": "image/png", "buffer": buffer.getvalue()}]
    one.get_by_label("Picture as the background").set_input_files(files)
    one.get_by_role("status").get_by_text("half.png").wait_for(state="attached")
    result = pixels(downloaded(one, "Download")[1])
    assert [tuple(result[y, x, :3]) for y, x in ((0, 0), (299, 399))] == [(0, 255, 0), (255, 255, 255)]


# ---- Brush ---------------------------------------------------------------------------------------------------


def test_the_brush_erases_where_it_was_and_nowhere_else(one, place):
    brush(one, "Erase", (0.45, 0.5), (0.55, 0.5))
    given = pixels(place.post("/api/remove", {"file": disc()}).body)
    result = pixels(downloaded(one, "Download")[1])
    assert (result[148:152, 185:215, 3] == 0).all()
    elsewhere = np.ones(result.shape[:2], dtype=bool)
    elsewhere[120:180, 150:250] = False
    assert np.array_equal(result[elsewhere][:, 3], given[elsewhere][:, 3])


def test_erasing_along_an_outline_leaves_what_has_another_colour(page, place):
    with running(opener(lambda batch: np.ones_like(batch[:, :1]))) as all_is_subject:
        page.goto(f"http://127.0.0.1:{place.port}/")
        page.route(
            "**/api/remove", lambda route: route.fulfill(body=all_is_subject.post("/api/remove", {"file": disc()}).body)
        )
        drop(page, {"disc.png": disc()})
        wait_for(page, 1)
        brush(page, "Erase", (0.5, 0.20), (0.5, 0.20))  # 15 of its 24 pixels beside the disc's upper end
        result = pixels(downloaded(page, "Download")[1])
    assert (result[60:70, 195:205, 3] < 10).all()
    assert (result[80:84, 195:205, 3] > 240).all()


def test_the_brush_keeps_in_the_pictures_own_colours(one):
    brush(one, "Keep", (0.1, 0.1), (0.2, 0.1))
    result = pixels(downloaded(one, "Download")[1])
    assert tuple(result[30, 60]) == (*BLUE, 255)
    assert result[250, 60, 3] == 0


def test_a_large_picture_is_retouched_at_its_own_size(page, place):
    large = disc((2000, 1500))
    drop(page, {"large.png": large})
    wait_for(page, 1)
    brush(page, "Erase", (0.5, 0.5), (0.5, 0.5))
    result = pixels(downloaded(page, "Download")[1])
    assert result.shape == (1500, 2000, 4)
    assert (result[745:755, 995:1005, 3] == 0).all()
    given = pixels(place.post("/api/remove", {"file": large}).body)
    assert np.array_equal(result[:650, :, 3], given[:650, :, 3])


def test_undo_gives_back_the_services_own_file(one, place):
    brush(one, "Erase", (0.4, 0.5), (0.6, 0.5))
    one.get_by_role("button", name="Undo").click()
    assert downloaded(one, "Download")[1] == place.post("/api/remove", {"file": disc()}).body


def test_retouching_is_kept_while_another_picture_is_looked_at(page):
    drop(page, {"a.png": disc(), "b.png": disc()})
    wait_for(page, 2)
    brush(page, "Erase", (0.45, 0.5), (0.55, 0.5))
    page.get_by_role("button", name="b.png Done").first.click()
    page.get_by_role("button", name="a.png Done").first.click()
    wait_for(page, 2)
    assert pixels(downloaded(page, "Download")[1])[150, 200, 3] == 0


def test_a_picture_that_lies_on_its_side_is_retouched_upright(page):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    drop(page, {"side.png": disc(exif=exif)})
    wait_for(page, 1)
    brush(page, "Erase", (0.5, 0.5), (0.5, 0.5))
    result = pixels(downloaded(page, "Download")[1])
    assert result.shape == (400, 300, 4)
    assert result[200, 150, 3] == 0


# ---- For everybody -------------------------------------------------------------------------------------------


def test_a_picture_can_be_cut_retouched_and_saved_by_keyboard_alone(page):
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.locator("#limit:not(:empty)").wait_for()
    page.keyboard.press("Tab")
    page.locator("#files:focus").wait_for(state="attached")
    page.keyboard.press("Enter")
    for _ in range(600):
        if choosers:
            break
        page.wait_for_timeout(100)
    choosers[0].set_files([{"name": "disc.png", "mimeType": "image/png", "buffer": disc()}])
    wait_for(page, 1)

    def tab_to(selector):
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    tab_to("[name=mode]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    tab_to(".marks")
    page.keyboard.press("Space")
    page.get_by_role("status").get_by_text("Erased.").wait_for(state="attached")
    tab_to("[name=background]")
    page.keyboard.press("ArrowRight")
    tab_to("#download")
    with page.expect_download() as waited:
        page.keyboard.press("Enter")
    result = pixels(waited.value.path().read_bytes())
    assert tuple(result[0, 0]) == tuple(result[150, 200]) == (255, 255, 255, 255)


def test_the_slider_divides_before_from_after_by_keyboard(one):
    split = one.get_by_label("How much to see of the picture before")
    split.focus()
    for _ in range(10):
        one.keyboard.press("ArrowRight")
    assert split.get_attribute("aria-valuetext") == "60 % before, 40 % after"
    assert one.locator(".frame").evaluate("frame => frame.style.getPropertyValue('--split')") == "60%"


@pytest.mark.parametrize("mode", ["Compare", "Erase"])
def test_every_control_has_a_name(one, mode):
    one.get_by_text(mode, exact=True).click()
    tree = one.context.new_cdp_session(one).send("Accessibility.getFullAXTree")["nodes"]
    controls = {"button", "radio", "slider", "combobox", "textbox", "link", "image", "application", "progressbar"}
    found = [(node["role"]["value"], node["name"]["value"]) for node in tree if not node["ignored"]]
    found = [(role, name) for role, name in found if role in controls or role == "ColorWell"]
    assert len(found) > 15
    assert [role for role, name in found if not name.strip()] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser, place, scheme):
    with opened(browser, place, color_scheme=scheme) as page:
        drop(page, {"disc.png": disc()})
        wait_for(page, 1)
        page.locator("#welcome").evaluate("(element) => { element.hidden = false; }")
        colors = page.evaluate(
            """(selectors) => selectors.map((selector) => {
                let element = document.querySelector(selector);
                const ink = getComputedStyle(element).color;
                const paper = () => getComputedStyle(element).backgroundColor;
                while (paper() === "rgba(0, 0, 0, 0)") element = element.parentElement;
                return [selector, ink, paper()];
            })""",
            ["h1", ".lead", "#ways", ".drop label", "footer", "legend", "#download", ":checked + span", ".state"],
        )
    ratios = {selector: _contrast(ink, paper) for selector, ink, paper in colors}
    assert min(ratios.values()) >= 4.5, ratios  # WCAG 2.2, AA


def _contrast(*colors: str) -> float:
    luminances = []
    for color in colors:
        values = [int(text) / 255 for text in color.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
        luminances.append(np.dot(linear, [0.2126, 0.7152, 0.0722]))
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_nothing_is_cut_off_at_any_width(browser, place, width):
    with opened(browser, place, viewport={"width": width, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        drop(page, {f"a-long-name-of-a-picture-{num}.png": disc() for num in range(4)})
        wait_for(page, 4)
        page.get_by_text("Erase", exact=True).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_is_small(place):
    page = place.get("/").body.decode()
    assert len(page) < 10_000
    assert place.get("/main.js").headers["content-type"].startswith("text/javascript")


def test_the_page_may_load_and_call_only_what_comes_with_it(place):
    headers = place.get("/").headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-cache"

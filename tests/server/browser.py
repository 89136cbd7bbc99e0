"""An installed Chromium, and the service's page in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium() -> Iterator:
    """The browser, until the end of the block; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("the page is not tested: there is no chromium, chromium-browser or google-chrome")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@contextmanager
def opened(browser, place, **options) -> Iterator:
    """The page of a service; fails if it complains, or asks anything of anybody else."""
    origin = f"http://127.0.0.1:{place.port}"
    context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
    context.set_default_timeout(60_000)  # machines may be busy
    page = context.new_page()
    complaints, strangers = [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None)
    page.on("request", lambda asked: strangers.append(asked.url) if not asked.url.startswith(own) else None)
    own = (origin, f"blob:{origin}", "data:")
    page.goto(f"{origin}/")
    yield page
    context.close()
    assert complaints == []
    assert strangers == []


def drop(page, files: dict[str, bytes]) -> None:
    """Drop files on the page, each of a name and content."""
    page.evaluate(
        """(files) => {
            const dropped = new DataTransfer();
            for (const [name, bytes] of files) {
                const kind = name.endsWith(".jpg") ? "image/jpeg" : name.endsWith(".txt") ? "text/plain" : "image/png";
                dropped.items.add(new File([Uint8Array.from(bytes)], name, { type: kind }));
            }
            const options = { bubbles: true, cancelable: true, dataTransfer: dropped };
            document.querySelector("main").dispatchEvent(new DragEvent("drop", options));
        }""",
        [[name.partition("/")[2] or name, list(content)] for name, content in files.items()],
    )


def wait_for(page, num: int, state: str = "done") -> None:
    """Until so many pictures are in a state, and the one on the stage can be used."""
    page.wait_for_function(
        "([num, state]) => document.querySelectorAll(`#strip [data-state=${state}]`).length === num", arg=[num, state]
    )
    if state == "done":
        page.wait_for_function("document.querySelector('#stage').dataset.state === 'done'")


def downloaded(page, button: str) -> tuple[str, bytes]:
    """Name and content of what a button gives."""
    with page.expect_download() as waited:
        page.get_by_role("button", name=button, exact=True).click()
    return waited.value.suggested_filename, waited.value.path().read_bytes()


def brush(page, mode: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a stroke between two places, each as shares of the picture's width and height, until it is solved."""
    page.get_by_text(mode, exact=True).click()
    box = page.locator(".marks").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=5)
    page.mouse.up()
    page.get_by_role("status").get_by_text({"Keep": "Kept.", "Erase": "Erased."}[mode]).wait_for(state="attached")

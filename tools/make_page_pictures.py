"""docs/images/page.jpg and page-phone.jpg: the page of a service that runs, in an installed Chromium.

    u2net serve & python tools/make_page_pictures.py FOLDER

FOLDER holds scikit-image's astronaut.png, chelsea.png, coffee.png and rocket.jpg (skimage/data). Needs playwright.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

URL = "http://127.0.0.1:7000/"
NAMES = ("coffee.png", "astronaut.png", "chelsea.png", "rocket.jpg")
IMAGES = Path(__file__).parents[1] / "docs/images"


def main() -> None:
    """Take both pictures."""
    folder = Path(sys.argv[1])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        desktop = browser.new_page(viewport={"width": 1280, "height": 936}, color_scheme="light")
        cut(desktop, folder)
        desktop.locator(".swatch", has_text="yellow").click()
        save(desktop, "page.jpg", 1280)
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark", device_scale_factor=2)
        cut(phone, folder)
        phone.locator(".swatch", has_text="blue").click()
        save(phone, "page-phone.jpg", 390)
        browser.close()


def cut(page: Page, folder: Path) -> None:
    """Have the pictures cut out."""
    page.goto(URL)
    page.set_input_files("#files", [folder / name for name in NAMES])
    page.get_by_role("status").get_by_text(f"{len(NAMES)} of {len(NAMES)} done.").wait_for(state="attached")
    page.locator("#stage[data-state=done]").wait_for()


def save(page: Page, name: str, width: int) -> None:
    """What is seen, once nothing is said any more."""
    page.locator("#status:not(.new)").wait_for(state="attached")
    page.wait_for_timeout(500)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image = image.resize((width, image.height * width // image.width), Image.Resampling.LANCZOS)
    image.save(IMAGES / name, quality=82, optimize=True)


if __name__ == "__main__":
    main()

"""Pictures of pages for docs/, perhaps scrolled to a text.

PYTHONPATH=tests python benchmarks/screenshot.py ADDRESS PNG WIDTH HEIGHT [TEXT]
"""

import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from test_browser import CHROMIUM


def main(address: str, png: str, width: str, height: str, text: str = "") -> None:
    """Open an address or a file, wait until it is drawn, and keep what is seen."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": int(width), "height": int(height)})
        page.goto(address if "://" in address else Path(address).resolve().as_uri(), wait_until="networkidle")
        if text:
            page.get_by_text(text).first.evaluate("element => element.scrollIntoView()")
        page.wait_for_timeout(1000)
        page.screenshot(path=png)
        browser.close()
    small = Image.open(png).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE)
    small.save(png, optimize=True)  # a third of the size, and no eye sees it


if __name__ == "__main__":
    main(*sys.argv[1:])

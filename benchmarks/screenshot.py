"""Pictures for docs/: of pages, scrolled if need be until a text is seen, and of what a command printed.

PYTHONPATH=tests python benchmarks/screenshot.py ADDRESS PNG WIDTH HEIGHT [TEXT]
FORCE_COLOR=1 COLUMNS=100 mer-search confirm 2>/dev/null | python benchmarks/screenshot.py - SVG

A PNG holds the headings that are seen in it as its text "headings", so that a test can say whether it is current.
"""

import io
import json
import re
import sys
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rich.console import Console
from rich.text import Text

HEADINGS = """() => [...document.querySelectorAll("h2, th, nav a, button")]
    .filter(each => each.checkVisibility() && each.getBoundingClientRect().top < innerHeight
                    && each.getBoundingClientRect().bottom > 0)
    .map(each => each.innerText)"""


def of_page(address: str, png: str, width: str, height: str, text: str = "") -> None:
    """Open an address or a file, wait until it is drawn, and keep what is seen."""
    from playwright.sync_api import sync_playwright
    from test_browser import CHROMIUM

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": int(width), "height": int(height)})
        page.goto(address if "://" in address else Path(address).resolve().as_uri(), wait_until="networkidle")
        if text:
            page.get_by_text(text).first.evaluate("element => element.scrollIntoView({block: 'nearest'})")
        page.wait_for_timeout(1000)
        page.screenshot(path=png)
        headings = PngInfo()
        headings.add_text("headings", json.dumps(page.evaluate(HEADINGS)))
        browser.close()
    small = Image.open(png).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE)
    small.save(png, optimize=True, pnginfo=headings)  # a third of the size, and no eye sees it


def of_terminal(printed: str, svg: str) -> None:
    """Draw what was printed, in 100 columns; fonts are the reader's, none is fetched."""
    console = Console(record=True, width=100, file=io.StringIO())
    console.print(Text.from_ansi(printed), soft_wrap=True)
    drawn = console.export_svg(title="mer-search")
    Path(svg).write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


if __name__ == "__main__":
    if sys.argv[1] == "-":
        of_terminal(sys.stdin.read(), sys.argv[2])
    else:
        of_page(*sys.argv[1:])

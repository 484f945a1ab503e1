"""The report and the dashboard of a small real study in Chromium: everything is there, and nothing complains."""

import html
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from small import copied_study

from mer_search import cli
from mer_search.confirmation.summary import read_summary
from mer_search.data.readers.layouts import CLASSES
from mer_search.report.summaries import summary_table

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (.ci/run installs it)")
HEADINGS = "[...document.querySelectorAll('h2, th, nav a, button')].map(each => each.innerText)"
DOCS = Path(__file__).parents[1] / "docs"
CHARTS = 8  # result, confusion, subjects, two curves, history, two slices; importances and the proxy need more trials


@pytest.fixture(scope="module")
def study(tmp_path_factory, confirmed_folder):
    """A folder with a study of two trials, the best of which is confirmed, and its report."""
    folder = tmp_path_factory.mktemp("study")
    copied_study(confirmed_folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        done = CliRunner().invoke(cli.main, ["report"])
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def chromium():
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """A function (address, width) -> page, whose errors fail the test at its end."""
    errors, pages = [], []

    def open_page(address, width=1200):
        page = chromium.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert errors == []


def _report(study):
    return (study / "runs/small/report.html").as_uri()


def _summary(study):
    (path,) = study.glob("runs/small/confirm/trial-?/summary.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("width", [390, 1200])
def test_the_report_shows_every_picture_and_the_right_numbers(study, visit, width):
    page = visit(_report(study), width)
    assert page.locator("h1").inner_text() == "small: MEGC 2019 flow images, 3 classes"
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == page.locator("figure.sheet img").count() and min(widths) > 100
    charts = page.locator("[role=img] svg")
    assert charts.count() == CHARTS and all(chart.bounding_box()["width"] > 300 for chart in charts.all())
    assert all(page.evaluate("[...document.images].map(image => image.alt)"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width  # wide tables scroll by themselves
    cells = [row.split("\t") for row in page.locator("table").first.inner_text().splitlines()]
    told = next(row for row in cells if row[0].startswith("tail"))
    found = _summary(study)["rules"]["tail"]["all"]
    assert told[2:4] == [f"{found['uf1']:.3f}", f"{found['sd']:.3f}"]
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1


def test_on_a_telephone_every_interval_is_seen_without_scrolling(study, visit):
    """In the first picture, which is read there, and in the tables; captions do not scroll."""
    page = visit(_report(study), 390)
    found = _summary(study)["rules"]["tail"]["all"]
    text = page.locator("svg text", has_text="{:.3f} [{:.3f}-{:.3f}]".format(found["uf1"], *found["ci95"]))
    assert text.bounding_box()["height"] > 8
    for part in [text, *page.locator("figcaption").all()]:
        box = part.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    table = page.locator("table", has=page.locator("th", has_text="95 %"))
    for each in table.all():
        last = each.locator("th").all_inner_texts().index(each.locator("th", has_text="95 %").inner_text())
        for row in each.locator("tr").all():
            box = row.locator("th, td").nth(last).bounding_box()
            assert box["x"] + box["width"] <= 390


def test_navigation_and_result_come_first_and_the_search_before_faces(study, visit):
    page = visit(_report(study))
    tops = [page.locator(part).first.bounding_box()["y"] for part in ("nav", "header svg", "section")]
    assert tops == sorted(tops)
    leads = page.locator("header p b").all_inner_texts()
    assert [lead.split("?")[0] for lead in leads] == [
        "Beats the baselines", "Better than the search's start", "Does the figure leak",
    ]  # fmt: skip
    titles = page.locator("h2").all_inner_texts()
    assert titles.index("The search") < titles.index("What the network looks at")


DARK, BRIGHT = "rgb(26, 28, 31)", "rgb(228, 231, 234)"


@pytest.mark.parametrize(
    ("scheme", "medium", "ink"), [("light", "screen", DARK), ("dark", "screen", BRIGHT), ("dark", "print", DARK)]
)
def test_charts_follow_the_pages_colours(study, visit, scheme, medium, ink):
    page = visit(_report(study))
    page.emulate_media(color_scheme=scheme, media=medium)
    label = page.locator("svg text", has_text="UF1, 95 % interval").first
    assert label.evaluate("text => getComputedStyle(text).fill") == ink
    assert page.evaluate("getComputedStyle(document.body).color") == ink


def test_words_for_a_paper_are_copied_by_a_button(study, visit):
    page = visit(_report(study))
    parts = _section(page, "For a paper").locator(".code")
    assert [part.locator("b").inner_text().split(",")[0] for part in parts.all()] == [
        "Methods", "Results", "What to cite",
    ]  # fmt: skip
    parts.nth(1).locator("button").click()
    assert parts.nth(1).locator("button").inner_text() == "Copied"
    assert page.evaluate("getSelection().toString()").startswith("\\begin{tabular}")


def _section(page, title):
    return page.locator("section", has=page.get_by_role("heading", name=title, exact=True))


@pytest.mark.parametrize(("width", "beside"), [(390, 3), (1200, 5)])
def test_the_report_shows_what_the_network_looks_at(study, visit, width, beside):
    page = visit(_report(study), width)
    part = _section(page, "What the network looks at")
    assert "which never saw its person: that of seed 1000" in part.inner_text()
    classes = part.locator("figure.sheet").first.locator(".tile")
    assert [tile.splitlines()[0] for tile in classes.all_inner_texts()] == ["negative", "positive", "surprise"]
    assert "The redder" in part.locator("figcaption").first.inner_text()
    for tile in part.locator(".tile:has(img)").all():
        tops = [image.bounding_box()["y"] for image in tile.locator("img").all()]
        assert tops.count(tops[0]) == min(beside, len(tops))
        assert tile.evaluate("tile => tile.scrollWidth <= tile.clientWidth")  # no word runs into the next tile
    told = part.locator("tbody").inner_text().splitlines()
    titles = part.locator("figure.sheet").last.locator(".tile b").all_inner_texts()
    assert [row.split("\t")[0] for row in told] == [title.split(":")[0] for title in titles]


@pytest.fixture(scope="module")
def dashboard(study):
    """Its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mer_search.cli", "dashboard", "--port", str(port)]
    server = subprocess.Popen(command, cwd=study, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    address = re.search(r"http://127\.0\.0\.1:\d+/\S*", server.stdout.readline())[0]
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError):
            urllib.request.urlopen(address, timeout=5)
            break
        assert server.poll() is None
    yield address
    server.kill()
    server.wait()


def _seen(picture):
    """The headings that were seen when a picture of docs/ was taken."""
    with Image.open(DOCS / picture) as image:
        return json.loads(image.text["headings"])


@pytest.mark.parametrize("picture", ["report.png", "report-390.png"])
def test_pictures_of_the_report_show_headings_that_it_has_today(study, visit, picture):
    page = visit(_report(study))
    assert "All estimates" in _seen(picture)
    compared = {"Against other networks, paired"}  # which the small study has not been
    assert {*_seen(picture)} - compared <= {*page.evaluate(HEADINGS)}


def test_the_picture_of_a_terminal_shows_rows_that_a_confirmation_prints_today(study):
    lines = re.findall(r"<text[^>]*>(.*?)</text>", (DOCS / "terminal.svg").read_text())
    drawn = "\n".join(html.unescape(line).replace("\xa0", " ") for line in lines)
    (path,) = study.glob("runs/small/confirm/trial-?/summary.json")
    table = summary_table(read_summary(path))
    for cell in [*table.head, *(row[0] for row in table.rows)]:
        assert cell in drawn


def test_the_dashboard_shows_the_study_and_each_trials_picture_and_note(study, dashboard, visit):
    assert dashboard.endswith("/dashboard/studies/1")
    page = visit(dashboard)
    page.get_by_text("small").first.wait_for()
    page = visit(dashboard.removesuffix("/studies/1"))
    page.get_by_text("small").first.wait_for()
    page = visit(f"{dashboard}/trials?numbers=0")
    page.get_by_text("Trial 0 (trial_id=1)").first.wait_for()
    page.get_by_text("over 4 of 4 subjects").first.wait_for()
    page.locator("th").first.wait_for()
    assert "truth, predicted:" in _seen("dashboard.png")
    assert {*_seen("dashboard.png")} - {*CLASSES} <= {*page.evaluate(HEADINGS)}
    image = page.locator("img[src*='artifacts']").first
    image.wait_for()
    page.wait_for_function("image => image.naturalWidth > 100", arg=image.element_handle())
    page = visit(dashboard)
    page.get_by_text("confirmed").first.wait_for()

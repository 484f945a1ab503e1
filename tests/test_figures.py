"""Charts: SVG in the page's colours, PNG and PDF for a paper, and a contrast that can be read."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from mer_search.confirmation.proxy import Proxy
from mer_search.confirmation.summary import Estimate
from mer_search.report import document, figures
from mer_search.report.figures import BLUE, RED


def _size(png: bytes) -> tuple[int, int]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.std() > 1
    return image.shape[:2]


KINDS = {"a": FloatDistribution(0.1, 0.5, log=True), "b": CategoricalDistribution(["nr"]),
         "c": CategoricalDistribution([True]), "d": IntDistribution(3, 3)}  # fmt: skip


def _trial(number):
    """One of four, the third of which was stopped early."""
    values = {"a": 0.1 * (number + 1), "b": "nr", "c": True, "d": 3}
    stopped = {"stopped_after": 1} if number == 2 else {}
    trial = create_trial(
        value=0.1 * number, params=values, distributions=KINDS, user_attrs={"fold_epochs": [8, 8], **stopped}
    )
    trial.number = number
    return trial


TRIALS = [*map(_trial, range(4)), create_trial(state=TrialState.PRUNED)]
RANDOM = np.random.default_rng(0)
DRAWINGS = {
    "forest": [figures.forest([("a <network>", Estimate(uf1=0.6, ci95=(0.5, 0.7)), BLUE),
                               ("other", Estimate(uf1=0.5, ci95=None), RED)])],
    "confusion": [figures.confusion(np.array([[3, 1], [0, 0]]), ["a", "b"])],
    "subjects": figures.subjects({"s1": 0.5, "s2": 1.0}, {"s1": 3, "s2": 4}, ["s1"]),
    "curves": figures.curves(RANDOM.random((2, 9)), RANDOM.random((2, 9)), 2),
    "history": [figures.history(TRIALS)],
    "importances": [figures.importances({"train.lr": 0.7, "train.loss": 0.3})],
    "slices": figures.slices(TRIALS[:4]),
    "proxy": [figures.proxy(Proxy((1, 7), (0.1, 0.2), (0.3, 0.2), True, 9, None, None, ""))],
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWINGS)
def test_charts_are_svg_in_the_pages_colours_and_png_and_pdf_for_a_paper(name):
    for drawing in DRAWINGS[name]:
        svg = drawing("svg").decode()
        assert svg.startswith("<svg viewBox=") and "var(--" in svg and "<text" in svg
        assert not re.findall(r"#[0-9a-f]{6}|http|font-family", svg)
        assert min(_size(drawing("png"))) > 150
        assert drawing("pdf").startswith(b"%PDF")


def test_a_confusion_matrix_has_shares_of_each_class_and_counts_a_seed():
    svg = figures.confusion(np.array([[240, 20], [100, 132]]), ["a", "b"], 2)("svg").decode()
    for text in ("92%", "(120)", "8%", "(10)", "43%", "(50)", "57%", "(66)"):
        assert f">{text}<" in svg
    thirds = figures.confusion(np.array([[74, 2], [0, 66]]), ["a", "b"], 3)("svg").decode()
    assert all(f">{text}<" in thirds for text in ("(24.7)", "(0.7)", "(0)", "(22)"))


STYLE = Path(document.__file__).with_name("page.html").read_text()
SCHEMES = [dict(re.findall(r"(--[a-z]+): (#[0-9a-f]{6})", part)) for part in STYLE.split("@media screen")[:2]]


def _contrast(*colours: str) -> float:
    """WCAG 2: (lighter + 0.05) / (darker + 0.05) of relative luminances."""
    channels = [np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255 for colour in colours]
    linear = [np.where(each <= 0.04045, each / 12.92, ((each + 0.055) / 1.055) ** 2.4) for each in channels]
    dark, light = sorted(float(each @ (0.2126, 0.7152, 0.0722)) for each in linear)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES, ids=["light", "dark"])
@pytest.mark.parametrize("colour", ["--ink", "--grey", "--blue", "--orange", "--red", "--green"])
@pytest.mark.parametrize("ground", ["--paper", "--shade"])
def test_every_colour_of_text_has_a_contrast_of_four_and_a_half(scheme, colour, ground):
    assert _contrast(scheme[colour], scheme[ground]) >= 4.5


def test_charts_are_drawn_in_the_pages_light_colours():
    assert {variable: SCHEMES[0][variable] for variable in figures.VARIABLES.values()} == {
        variable: colour for colour, variable in figures.VARIABLES.items()
    }

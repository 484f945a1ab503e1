"""Charts of one style: as SVG that takes its colours from the page, and as PNG or PDF.

Every chart is as wide as a telephone's column; on a wider page they stand side by side.
"""

import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from mer_search.confirmation.proxy import Proxy
from mer_search.confirmation.summary import Estimate, NetworkScore
from mer_search.data.clips import Clip, counts
from mer_search.report.terminal import interval
from mer_search.search.storage import is_stopped, ran_to_its_end, score

Drawing = Callable[[str], bytes]  # "svg", "png" or "pdf" -> the file's content

INK, GREY, BLUE, ORANGE, RED = "#1a1c1f", "#5c6269", "#1c6cb0", "#b35309", "#c0272d"
VARIABLES = {INK: "--ink", GREY: "--grey", BLUE: "--blue", ORANGE: "--orange", RED: "--red"}  # of page.html
STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    "font.size": 9.5, "axes.titlesize": 9.5, "legend.fontsize": 8.5, "legend.frameon": False, "lines.markersize": 4,
    "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none", "svg.hashsalt": "mer-search",
    "pdf.fonttype": 42,
}  # fmt: skip
LABEL = 36  # letters beside an interval
WIDTH = 4.5  # inches of 72 units
SUBJECTS_A_PANEL = 20
_styled = matplotlib.rc_context(STYLE)  # axes take their style when they are made


def _axes(height: float = 2.4) -> Any:
    return Figure(figsize=(WIDTH, height), layout="constrained", dpi=150).subplots()


@_styled
def _content(figure: Figure, kind: str) -> bytes:
    """Its file; an SVG to stand within a page: without a size, its colours the page's variables."""
    buffer = io.BytesIO()
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(buffer, format=kind, transparent=kind != "png", metadata=dates.get(kind))
    if kind != "svg":
        return buffer.getvalue()
    svg = re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>", "", buffer.getvalue().decode(), flags=re.DOTALL)
    svg = re.sub(r'(?<=<svg) .*?(viewBox="[^"]*")[^>]*', r" \1", svg)
    svg = re.sub(r' id="[a-z0-9]+_[0-9]+"|font-family: [^;"]*;?', "", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.encode()


def _drawing(axes: Any) -> Drawing:
    return partial(_content, axes.figure)


@_styled
def forest(rows: Sequence[tuple[str, Estimate | NetworkScore, str]]) -> Drawing:
    """UF1 with its 95 % interval, a row for each (label, estimate, colour); red ones, which leak, are hollow and stand
    below a line."""
    axes = _axes(0.55 + 0.42 * len(rows))
    for place, (label, estimate, colour) in enumerate(rows):
        line, fill = (":", "none") if colour == RED else ("-", "full")
        if estimate.ci95:
            axes.plot(estimate.ci95, (place, place), color=colour, linewidth=2, linestyle=line)
        axes.plot(estimate.uf1, place, "o", color=colour, markersize=7, fillstyle=fill)
        look: dict[str, Any] = {"va": "center", "color": colour, "transform": axes.get_yaxis_transform()}
        short = label if len(label) <= LABEL else f"{label[: LABEL - 3]}..."
        axes.text(0, place - 0.32, short, ha="left", **look)
        axes.text(1, place - 0.32, f"{estimate.uf1:.3f} [{interval(estimate.ci95)}]", ha="right", **look)
    if leaking := [place for place, (_, _, colour) in enumerate(rows) if place and colour == RED]:
        axes.axhline(leaking[0] - 0.62, color=GREY, linewidth=0.6)
    axes.set(xlabel="UF1, 95 % interval", ylim=(len(rows) - 0.6, -0.7), yticks=[])
    axes.spines["left"].set_visible(False)
    return _drawing(axes)


@_styled
def confusion(matrix: NDArray[Any], classes: Sequence[str], seeds: int = 1) -> Drawing:
    """A confusion matrix (K, K), summed over seeds: of each truth's clips the share, and how many a seed."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes = _axes(1.0 + 0.5 * len(classes))
    for (truth, guess), share in np.ndenumerate(shares):
        axes.add_patch(Rectangle((guess - 0.5, truth - 0.5), 1, 1, color=BLUE, alpha=0.6 * share))
        count = f"{round(float(matrix[truth, guess]) / seeds, 1):g}"
        axes.text(guess, truth, f"{share:.0%}\n({count})", ha="center", va="center", fontsize=8)
    ends, places = (-0.5, len(classes) - 0.5), range(len(classes))
    axes.set_xticks(places, classes, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, classes)
    axes.set(xlabel="predicted", ylabel="truth", xlim=ends, ylim=ends[::-1])
    axes.tick_params(length=0)
    return _drawing(axes)


@_styled
def subjects(f1: Mapping[str, float], clips: Mapping[str, int], tuning: Collection[str]) -> list[Drawing]:
    """F1 of each subject as bars, the worst first; subjects that the search scored in another colour."""
    names = sorted(f1, key=lambda name: f1[name])
    found = []
    for start in range(0, len(names), SUBJECTS_A_PANEL):
        part = names[start : start + SUBJECTS_A_PANEL]
        axes = _axes(0.75 + 0.19 * len(part))
        for colour, label, wanted in ((ORANGE, "tuning", True), (BLUE, "other", False)):
            places = [place for place, name in enumerate(part) if (name in tuning) == wanted]
            if places:
                values = [f1[part[place]] for place in places]
                axes.hlines(places, 0, values, color=colour, linewidth=5, label=label)
                axes.plot(values, places, "o", color=colour)  # a 0 is no gap
        axes.set_yticks(range(len(part)), [f"{name} ({clips[name]})" for name in part], fontsize=8)
        axes.set(xlabel="F1 within subject", xlim=(-0.02, 1.02), ylim=(len(part) - 0.5, -0.5))
        if tuning:
            axes.figure.legend(loc="outside upper right", ncols=2)
        found.append(_drawing(axes))
    return found


@_styled
def curves(uf1: NDArray[Any], loss: NDArray[Any], tail: int) -> list[Drawing]:
    """UF1 on test subjects (seeds, E) and training loss (seeds, E) by epoch: their mean and range over seeds. The last
    `tail` epochs, which are averaged, are shaded."""
    epochs, found = np.arange(1, uf1.shape[1] + 1), []
    panels = (("UF1 on test subjects, one epoch alone", uf1, BLUE), ("training loss", loss, ORANGE))
    for label, values, colour in panels:
        axes = _axes()
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.25, linewidth=0)
        axes.plot(epochs, values.mean(0), color=colour)
        axes.axvspan(epochs[-tail] - 0.5, epochs[-1] + 0.5, color=GREY, alpha=0.15, linewidth=0)
        axes.set(xlabel="epoch", title=label, xlim=(0.5, epochs[-1] + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        found.append(_drawing(axes))
    return found


@_styled
def history(trials: Sequence[FrozenTrial]) -> Drawing:
    """The search as it went: every trial's UF1, and the best so far of those that ran to their end."""
    axes = _axes(2.9)
    ended = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    _scatter(axes, ended, [trial.number for trial in ended])
    if whole := [trial for trial in ended if ran_to_its_end(trial)]:
        best = np.maximum.accumulate([score(trial) for trial in whole])
        numbers = [*(trial.number for trial in whole), ended[-1].number]
        axes.step(numbers, [*best, best[-1]], where="post", color=BLUE, label="best so far")
    if infeasible := [trial.number for trial in trials if trial.state == TrialState.PRUNED]:
        axes.plot(infeasible, [min(map(score, ended))] * len(infeasible), "x", color=RED, label="infeasible")
    axes.set(xlabel="trial", ylabel="UF1 of the search's subjects")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.figure.legend(loc="outside upper right", ncols=2)
    return _drawing(axes)


@_styled
def importances(found: Mapping[str, float]) -> Drawing:
    """Share of the variance of UF1 that each axis explains, the largest on top."""
    names = sorted(found, key=lambda name: found[name])
    axes = _axes(0.6 + 0.24 * len(names))
    axes.barh(range(len(names)), [found[name] for name in names], color=BLUE)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="share of the variance of UF1", xlim=(0, 1))
    return _drawing(axes)


@_styled
def slices(trials: Sequence[FrozenTrial]) -> list[Drawing]:
    """UF1 of trials that have ended against each axis of the space."""
    scores = [score(trial) for trial in trials if trial.params]
    margin = 0.05 * (max(scores) - min(scores)) or 0.05
    found = []
    for name in dict.fromkeys(name for trial in trials for name in trial.params):
        axes, own = _axes(1.9), [trial for trial in trials if name in trial.params]
        values, kind = [trial.params[name] for trial in own], own[-1].distributions[name]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            _ticks(axes, values, isinstance(kind, FloatDistribution) and kind.log)
        else:
            words = sorted({str(value) for value in values})
            axes.set_xticks(range(len(words)), words, rotation=30 if len(words) > 5 else 0)
            axes.set_xlim(-0.5, len(words) - 0.5)
            values = [words.index(str(value)) for value in values]
        _scatter(axes, own, values)
        axes.set(title=name, ylabel="UF1", ylim=(min(scores) - margin, max(scores) + margin))
        found.append(_drawing(axes))
    return found


def _ticks(axes: Any, values: Sequence[float], logarithmic: bool) -> None:
    """The values themselves where they are few and round, else three from end to end."""
    ends, few = (min(values), max(values)), sorted(set(values))
    if logarithmic and ends[0] < ends[1]:
        axes.set_xscale("log")
        ticks = list(np.geomspace(*ends, 3))
    else:
        ticks = few if len(few) <= 4 and few == [round(value, 3) for value in few] else list(np.linspace(*ends, 3))
    axes.set_xticks(ticks, [f"{tick:.2g}" if isinstance(tick, float) else str(tick) for tick in ticks])
    axes.minorticks_off()


@_styled
def proxy(found: Proxy) -> Drawing:
    """The search's score of trials against their confirmed UF1."""
    axes = _axes(3.2)
    axes.plot(found.tuning_uf1, found.confirmed_uf1, "o", color=BLUE)
    for trial, x, y in zip(found.trials, found.tuning_uf1, found.confirmed_uf1, strict=True):
        axes.annotate(str(trial), (x, y), textcoords="offset points", xytext=(5, 4))
    group = "other" if found.on_other else "all"
    axes.set(xlabel="UF1 in the search, tuning subjects", ylabel=f"confirmed UF1, {group} subjects")
    return _drawing(axes)


@_styled
def clips(found: Sequence[Clip], classes: Sequence[str]) -> Drawing:
    """A dataset at a look: clips per class of each subject, how many frames clips have from onset to offset, and where
    between these, 0 to 1, their apex lies. Flow images have neither."""
    counted, films = counts(found, classes), [clip for clip in found if not clip.is_flow]
    moments = [(clip.annotated(clip.onset), clip.annotated(clip.offset)) for clip in films]
    frames = [offset - onset + 1 for onset, offset in moments]
    pairs = zip(films, moments, strict=True)
    known = [(clip.annotated(clip.apex), *own) for clip, own in pairs if clip.apex is not None]
    apexes = [(apex - onset) / max(offset - onset, 1) for apex, onset, offset in known]
    figure = Figure(figsize=(max(9.0, 3 + 0.24 * len(counted)), 6), layout="constrained", dpi=120)
    panels = figure.subplot_mosaic([["clips", "clips"], ["frames", "apex"]])
    axes, bottom = panels["clips"], np.zeros(len(counted))
    for place, name in enumerate(classes):
        column = np.array([row[place] for row in counted.values()])
        axes.bar(range(len(counted)), column, bottom=bottom, label=f"{name} ({column.sum()})")
        bottom += column
    axes.set_xticks(range(len(counted)), counted, rotation=90, fontsize=7)
    axes.set(ylabel="clips", xlim=(-0.6, len(counted) - 0.4))
    axes.legend(fontsize=8, ncols=2)
    lengths, places = ("frames of a clip, onset to offset", frames, None), ("apex, onset 0 to offset 1", apexes, (0, 1))
    for below, (label, values, ends) in ((panels["frames"], lengths), (panels["apex"], places)):
        if values:
            below.hist(values, bins=20, range=ends, color="tab:blue")
        else:
            below.text(0.5, 0.5, "not known", ha="center", transform=below.transAxes)
        below.set(xlabel=label, ylabel="clips")
        below.yaxis.set_major_locator(MaxNLocator(integer=True))
    return _drawing(axes)


def _scatter(axes: Any, trials: Sequence[FrozenTrial], places: Sequence[float]) -> None:
    """Trials by their score: filled if they ran to their end, else hollow."""
    for whole, face, label in ((True, BLUE, "ran to its end"), (False, "none", "stopped early, an estimate")):
        points = [(x, score(trial)) for x, trial in zip(places, trials, strict=True) if is_stopped(trial) != whole]
        if points:
            axes.scatter(*zip(*points, strict=True), s=18, facecolors=face, edgecolors=BLUE, label=label)

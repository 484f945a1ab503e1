"""Pictures, as PNG bytes."""

import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from sklearn.metrics import ConfusionMatrixDisplay


def clips_png(
    counts: Mapping[str, Sequence[int]], classes: Sequence[str], frames: Sequence[int], apexes: Sequence[float]
) -> bytes:
    """A dataset at a look: clips per class of each subject, how long clips are, where their apex lies.

    Args:
        counts: subject -> clips of each class.
        classes: their names.
        frames: of each clip, from onset to offset; none of flow images.
        apexes: of clips that have one: its place between onset (0) and offset (1).
    """
    figure = Figure(figsize=(max(9.0, 3 + 0.24 * len(counts)), 6), layout="constrained", dpi=120)
    panels = figure.subplot_mosaic([["clips", "clips"], ["frames", "apex"]])
    axes, bottom = panels["clips"], np.zeros(len(counts))
    for place, name in enumerate(classes):
        column = np.array([row[place] for row in counts.values()])
        axes.bar(range(len(counts)), column, bottom=bottom, label=f"{name} ({column.sum()})")
        bottom += column
    axes.set_xticks(range(len(counts)), counts, rotation=90, fontsize=7)
    axes.set(ylabel="clips", xlim=(-0.6, len(counts) - 0.4))
    axes.legend(fontsize=8, ncols=2)
    lengths, places = ("frames of a clip, onset to offset", frames, None), ("apex, onset 0 to offset 1", apexes, (0, 1))
    for below, (label, values, ends) in ((panels["frames"], lengths), (panels["apex"], places)):
        if values:
            below.hist(values, bins=20, range=ends, color="tab:blue")
        else:
            below.text(0.5, 0.5, "not known", ha="center", transform=below.transAxes)
        below.set(xlabel=label, ylabel="clips")
        below.yaxis.set_major_locator(MaxNLocator(integer=True))
    return _png(figure)


def confusion_png(matrix: NDArray[Any], classes: Sequence[str], title: str) -> bytes:
    """A confusion matrix (K, K): the share of each truth's clips, whose number stands beside it."""
    counts = matrix.sum(1)
    figure = Figure(figsize=(1.6 + 0.9 * len(classes), 1.4 + 0.75 * len(classes)), layout="constrained", dpi=120)
    axes = figure.subplots()
    shown = ConfusionMatrixDisplay(matrix / np.maximum(counts[:, None], 1), display_labels=classes)
    shown.plot(
        cmap="Blues", ax=axes, colorbar=False, values_format=".0%", xticks_rotation=30, im_kw={"vmin": 0, "vmax": 1}
    )
    axes.set_yticklabels([f"{name} ({count})" for name, count in zip(classes, counts, strict=True)])
    axes.set(xlabel="predicted", ylabel="truth (clips)")
    axes.set_title(title, fontsize=9, wrap=True)
    return _png(figure)


def subjects_png(f1: dict[str, float], clips: dict[str, int], tuning: Sequence[str]) -> bytes:
    """F1 a subject as bars, the worst first; subjects that the search scored in another colour."""
    names = sorted(f1, key=lambda name: f1[name])
    figure = Figure(figsize=(max(6.0, 0.28 * len(names)), 3.2), layout="constrained", dpi=120)
    axes = figure.subplots()
    colours = ["tab:orange" if name in tuning else "tab:blue" for name in names]
    axes.bar(range(len(names)), [f1[name] for name in names], color=colours)
    axes.scatter(range(len(names)), [f1[name] for name in names], color=colours, s=9, zorder=3)  # a 0 is no gap
    axes.set_xticks(range(len(names)), [f"{name} ({clips[name]})" for name in names], rotation=90, fontsize=7)
    axes.set(ylabel="F1 within subject", ylim=(-0.02, 1.02), xlim=(-0.6, len(names) - 0.4))
    for colour, label in (("tab:orange", "tuning"), ("tab:blue", "other")):
        axes.bar(0, 0, color=colour, label=label)
    axes.legend(fontsize=8, loc="upper left")
    return _png(figure)


def curves_png(uf1: NDArray[Any], loss: NDArray[Any], tail: int) -> bytes:
    """UF1 on test subjects (seeds, E) and training loss (seeds, E) by epoch: their mean and range over seeds.

    Args:
        tail: how many of the last epochs are averaged, shaded.
    """
    figure = Figure(figsize=(9, 3.2), layout="constrained", dpi=120)
    epochs = np.arange(1, uf1.shape[1] + 1)
    panels = (("UF1 on test subjects, one epoch alone", uf1, "tab:blue"), ("training loss", loss, "tab:orange"))
    for axes, (label, values, colour) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.25, linewidth=0)
        axes.plot(epochs, values.mean(0), color=colour)
        axes.axvspan(epochs[-tail] - 0.5, epochs[-1] + 0.5, color="tab:green", alpha=0.12)
        axes.set(xlabel="epoch", title=label, xlim=(0.5, epochs[-1] + 0.5))
    return _png(figure)


class Point(NamedTuple):
    """A trial in a picture."""

    number: int
    score: float
    stopped: bool  # early: the score is an estimate


def history_png(points: Sequence[Point], infeasible: Sequence[int]) -> bytes:
    """The search as it went: every trial's UF1, and the best so far of those that ran to their end."""
    figure = Figure(figsize=(9, 3.4), layout="constrained", dpi=120)
    axes = figure.subplots()
    _scatter(axes, points, [point.number for point in points])
    whole = [point for point in points if not point.stopped]
    if whole:
        best = np.maximum.accumulate([point.score for point in whole])
        numbers = [*(point.number for point in whole), points[-1].number]
        axes.step(numbers, [*best, best[-1]], where="post", color="tab:blue", label="best so far")
    if infeasible:
        floor = min((point.score for point in points), default=0.0)
        axes.plot(infeasible, [floor] * len(infeasible), "x", color="tab:red", label="infeasible")
    axes.set(xlabel="trial", ylabel="UF1 of the search's subjects")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    return _png(figure)


def importances_png(importances: Mapping[str, float]) -> bytes:
    """Share of the variance of UF1 that each axis explains, the largest on top."""
    names = sorted(importances, key=lambda name: importances[name])
    figure = Figure(figsize=(7, 0.8 + 0.32 * len(names)), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.barh(range(len(names)), [importances[name] for name in names], color="tab:blue")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="share of the variance of UF1", xlim=(0, 1))
    return _png(figure)


def slices_png(axes_of: Mapping[str, Sequence[tuple[Point, Any]]], logarithmic: Collection[str]) -> bytes:
    """UF1 against each axis of the space: (trial, its value) pairs of the trials that have one."""
    across = min(3, len(axes_of))
    down = -(-len(axes_of) // across)
    figure = Figure(figsize=(3.2 * across, 2.5 * down), layout="constrained", dpi=120)
    grid = figure.subplots(down, across, squeeze=False, sharey=True).flat
    for (name, pairs), axes in zip(axes_of.items(), grid, strict=False):
        points, values = [point for point, _ in pairs], [value for _, value in pairs]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            ends = min(values), max(values)
            if name in logarithmic and ends[0] < ends[1]:
                axes.set_xscale("log")
                ticks = list(np.geomspace(*ends, 3))
            else:
                few = sorted(set(values))
                ticks = (
                    few if len(few) <= 4 and few == [round(value, 3) for value in few] else list(np.linspace(*ends, 3))
                )
            axes.set_xticks(ticks, [f"{tick:.2g}" if isinstance(tick, float) else str(tick) for tick in ticks])
            axes.minorticks_off()
        else:
            words = sorted({str(value) for value in values})
            axes.set_xticks(range(len(words)), words, rotation=30 if len(words) > 3 else 0)
            axes.set_xlim(-0.5, len(words) - 0.5)
            values = [words.index(str(value)) for value in values]
        _scatter(axes, points, values)
        axes.set_title(name, fontsize=9)
    for axes in list(grid):
        axes.set_visible(False)
    figure.supylabel("UF1", fontsize=9)
    return _png(figure)


def proxy_png(tuning: Sequence[float], confirmed: Sequence[float], trials: Sequence[int], on_other: bool) -> bytes:
    """The search's score of trials against their confirmed UF1."""
    figure = Figure(figsize=(4.6, 4), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.plot(tuning, confirmed, "o", color="tab:blue")
    for trial, x, y in zip(trials, tuning, confirmed, strict=True):
        axes.annotate(str(trial), (x, y), textcoords="offset points", xytext=(5, 4), fontsize=8)
    axes.set(
        xlabel="UF1 in the search, tuning subjects", ylabel=f"confirmed UF1, {'other' if on_other else 'all'} subjects"
    )
    return _png(figure)


def _scatter(axes: Any, points: Sequence[Point], places: Sequence[float]) -> None:
    """Trials by their score: filled if they ran to their end, else hollow."""
    for stopped, face, label in ((False, "tab:blue", "ran to its end"), (True, "none", "stopped early, an estimate")):
        chosen = [(place, point.score) for place, point in zip(places, points, strict=True) if point.stopped == stopped]
        if chosen:
            axes.scatter(*zip(*chosen, strict=True), s=18, facecolors=face, edgecolors="tab:blue", label=label)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

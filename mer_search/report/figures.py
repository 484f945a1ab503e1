"""Pictures, as PNG bytes."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def confusion_png(matrix: NDArray[Any], classes: Sequence[str], title: str) -> bytes:
    """A confusion matrix (K, K): counts, coloured by the share of the truth's clips."""
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    figure = Figure(figsize=(1.6 + 0.9 * len(classes), 1.4 + 0.75 * len(classes)), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axes.set_yticks(
        range(len(classes)), [f"{name} ({total})" for name, total in zip(classes, matrix.sum(1), strict=True)]
    )
    for (row, column), count in np.ndenumerate(matrix):
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if shares[row, column] > 0.55 else "black"
        )
    axes.set(xlabel="predicted", ylabel="truth")
    axes.set_title(title, fontsize=9, wrap=True)
    return _png(figure)


def subjects_png(f1: dict[str, float], clips: dict[str, int], searched: Sequence[str]) -> bytes:
    """F1 a subject as bars, the worst first; subjects that the search scored in another colour."""
    names = sorted(f1, key=lambda name: f1[name])
    figure = Figure(figsize=(max(6.0, 0.28 * len(names)), 3.2), layout="constrained", dpi=120)
    axes = figure.subplots()
    colours = ["tab:orange" if name in searched else "tab:blue" for name in names]
    axes.bar(range(len(names)), [f1[name] for name in names], color=colours)
    axes.set_xticks(range(len(names)), [f"{name} ({clips[name]})" for name in names], rotation=90, fontsize=7)
    axes.set(ylabel="F1 within subject", ylim=(0, 1), xlim=(-0.6, len(names) - 0.4))
    for colour, label in (("tab:orange", "searched"), ("tab:blue", "never searched")):
        axes.bar(0, 0, color=colour, label=label)
    axes.legend(fontsize=8, loc="upper left")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

"""Metrics and selection rules, each a pure function of stored predictions.

Counts are pooled over all folds before any ratio is taken (MEGC 2019, See et al.): per-fold F1 values are never
averaged, because subjects lack classes. A class counts where it has clips: which ones do is a fact of the clips alone,
so that all figures of the same clips are over the same classes, whatever a network took them for. Shapes: n clips, E
epochs, K classes; a confusion matrix (..., K, K) has the truth in its rows.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mer_search.errors import UsageError
from mer_search.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Classes = NDArray[np.bool_]  # (K,) which of them count
Interval = tuple[float, float]

TAIL = 0.2  # share of the epochs, the last ones, that the tail rule averages


def confusion(labels: NDArray[Any], predicted: NDArray[Any], n_classes: int) -> Ints:
    """(K, K) counts of (truth, prediction)."""
    flat = np.bincount(np.asarray(labels) * n_classes + np.asarray(predicted), minlength=n_classes**2)
    return flat.reshape(n_classes, n_classes).astype(np.int64)


def uf1(matrix: NDArray[Any], classes: Classes | None = None) -> Floats:
    """Unweighted F1 of confusion matrices (..., K, K) -> (...): mean over classes of 2TP / (2TP + FP + FN).

    The mean is over `classes` (K,), such as the whole sample's for a part of it; None for those that have clips.
    """
    return _mean_over(f1_by_class(matrix), matrix.sum(-1) > 0 if classes is None else classes)


def macro_f1(matrix: NDArray[Any]) -> Floats:
    """Macro F1 of confusion matrices (..., K, K) -> (...) over the classes that have clips or are predicted in each, as
    published code has it of one subject; scikit-learn's f1_score does so, too."""
    return _mean_over(f1_by_class(matrix), _met(matrix) > 0)


def f1_by_class(matrix: NDArray[Any]) -> Floats:
    """F1 of each class, of confusion matrices (..., K, K) -> (..., K); 0 of a class without a clip and a prediction."""
    return _ratios(2 * matrix.diagonal(axis1=-2, axis2=-1), _met(matrix))


def _met(matrix: NDArray[Any]) -> NDArray[Any]:
    """(..., K) how often each class occurs and is predicted, 2TP + FP + FN."""
    return np.asarray(matrix.sum(-1) + matrix.sum(-2))


def occurring(matrix: NDArray[Any]) -> Classes:
    """(K,) which classes have clips in any of the confusion matrices (..., K, K)."""
    return np.asarray(matrix.sum(-1).reshape(-1, matrix.shape[-1]).any(0))


def without_clips(matrix: NDArray[Any], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes, of these K names, that have no clips in the confusion matrices (..., K, K) and do not count."""
    return tuple(name for name, there in zip(classes, occurring(matrix), strict=True) if not there)


def uar(matrix: NDArray[Any]) -> Floats:
    """Unweighted average recall of confusion matrices (..., K, K) -> (...): mean over classes of TP / clips."""
    return _mean_over(recall_by_class(matrix), matrix.sum(-1) > 0)


def recall_by_class(matrix: NDArray[Any]) -> Floats:
    """TP / clips of each class, of confusion matrices (..., K, K) -> (..., K); 0 of a class without a clip."""
    return _ratios(matrix.diagonal(axis1=-2, axis2=-1), matrix.sum(-1))


def accuracy(matrix: NDArray[Any]) -> Floats:
    """Share of clips on the diagonal of confusion matrices (..., K, K) -> (...)."""
    total = matrix.sum((-2, -1))
    return np.asarray(np.trace(matrix, axis1=-2, axis2=-1) / np.maximum(total, 1), dtype=np.float64)


def _mean_over(each: Floats, counted: NDArray[np.bool_]) -> Floats:
    """Mean of (..., K) over those that count (..., K); 0 where none does."""
    return np.asarray((each * counted).sum(-1) / np.maximum(counted.sum(-1), 1), dtype=np.float64)


def _ratios(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    return np.asarray(np.where(below > 0, above / np.where(below > 0, below, 1), 0.0), dtype=np.float64)


def units_f1(truth: NDArray[Any], shown: NDArray[Any], over: str = "occurring") -> float:
    """Macro F1 of action units, from truth (n, A) of 1, 0 and, where unknown, NaN, and what was predicted (n, A).

    The mean is over the action units that occur or were shown, or over "all"; NaN if no clip's are known.
    """
    known = ~np.isnan(truth)
    if not known.any():
        return float("nan")
    present, said = (truth == 1) & known, shown.astype(bool) & known
    met = present.sum(0) + said.sum(0)
    return float(_mean_over(_ratios(2 * (present & said).sum(0), met), (met > 0) | (over == "all")))


def unit_counts(folds: Sequence[Predictions]) -> dict[str, Ints]:
    """Action unit -> clips that show it, clips of which it is predicted, and clips of both (3,), over all folds and
    where it is known. A unit that no fold trains on is not there."""
    found: dict[str, Ints] = {}
    for fold in folds:
        if fold.unit_truth is None or fold.unit_probabilities is None:
            continue
        present, said = fold.unit_truth == 1, (fold.unit_probabilities > 0.5) & ~np.isnan(fold.unit_truth)
        counts = np.array([present.sum(0), said.sum(0), (present & said).sum(0)]).T
        for name, own in zip(fold.unit_names, counts, strict=True):
            found[name] = found.get(name, 0) + own
    return dict(sorted(found.items(), key=lambda item: -item[1][0]))


def tail_epochs(epochs: int) -> int:
    """How many of the last epochs the tail rule averages."""
    return max(1, round(TAIL * epochs))


def tail(fold: Predictions) -> Floats:
    """Mean probability of the last epochs (n, K): the default objective and the headline. Leak-free."""
    return np.asarray(fold.probabilities[-tail_epochs(fold.epochs) :].mean(0, dtype=np.float64))


def last(fold: Predictions) -> Floats:
    """Probability after the last epoch (n, K). Leak-free."""
    return np.asarray(fold.probabilities[-1], np.float64)


def val_epoch(fold: Predictions) -> Floats:
    """Probability (n, K) at the epoch that fits the subjects held out best, ties to the earlier. Leak-free."""
    if fold.val_log_likelihood is None:
        raise UsageError(
            f"rule val_epoch needs subjects held out of training, but there are none beside {fold.subject}; train with "
            "train.val_subjects of 1 or more, or take another rule"
        )
    return np.asarray(fold.probabilities[int(fold.val_log_likelihood.argmax())], np.float64)


def best_test_epoch(fold: Predictions, latest: bool = False) -> Floats:
    """Probability (n, K) at the epoch with the best F1 on this very subject: the published rule. It leaks.

    As TM-MMNET's public code does it from V3 on: by `macro_f1`, ties to the higher accuracy,
    then to the earlier epoch; or to the latest epoch, as in the public code of MMNet and of TM-MMNET's V1 and V2.
    """
    return np.asarray(fold.probabilities[best_epoch(*f1_by_epoch(fold), latest)], np.float64)


def best_epoch(f1: Floats, accurate: Floats, latest: bool = False) -> int:
    """The epoch (from 0) with the best F1 (E,); of equals the one with the best accuracy (E,), and of these the
    earliest; or the latest whatever its accuracy."""
    epochs = np.arange(len(f1))
    ties = (epochs,) if latest else (-epochs, accurate)
    return int(np.lexsort((*ties, f1))[-1])


def f1_by_epoch(fold: Predictions) -> tuple[Floats, Floats]:
    """Macro F1 (E,) and accuracy (E,) on all that the fold tests after every epoch."""
    fold = fold.whole or fold
    n_classes = fold.probabilities.shape[-1]
    matrices = np.stack([confusion(fold.labels, epoch.argmax(-1), n_classes) for epoch in fold.probabilities])
    return macro_f1(matrices).round(12), accuracy(matrices)  # equal ratios may differ in their last bit


Rule = Callable[[Predictions], Floats]
RULES: dict[str, Rule] = {"tail": tail, "last": last, "val_epoch": val_epoch, "best_test_epoch": best_test_epoch}
LEAKS = frozenset({"best_test_epoch"})  # rules that look at the test subject's labels
PUBLISHED_RULES: dict[str, Rule] = {"earliest": best_test_epoch, "latest": partial(best_test_epoch, latest=True)}


def available(folds: Sequence[Predictions], ties: str = "earliest") -> dict[str, Rule]:
    """The rules that can be applied to all of the folds: `val_epoch` only where subjects were held out, and
    `best_test_epoch` with the ties of the public code, of PUBLISHED_RULES."""
    held_out = all(fold.val_log_likelihood is not None for fold in folds)
    rules = RULES | {"best_test_epoch": PUBLISHED_RULES[ties]}
    return {name: rule for name, rule in rules.items() if rule is not val_epoch or held_out}


def mean_log(probs: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean log of the probs (n, K) given to the true classes (n,), none counted as less than 1e-4; at most 0."""
    given = probs[np.arange(len(labels)), labels].astype(np.float64)
    return float(np.log(np.maximum(given, 1e-4)).mean())


def fold_confusion(fold: Predictions, rule: Rule) -> Ints:
    """(K, K) confusion matrix of one subject under a rule."""
    return confusion(fold.labels, rule(fold).argmax(-1), fold.probabilities.shape[-1])


def pooled_uf1(folds: Sequence[Predictions], rule: Rule) -> float:
    """UF1 of all folds' counts together."""
    return float(uf1(np.sum([fold_confusion(fold, rule) for fold in folds], axis=0)))

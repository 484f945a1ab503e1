"""Two scikit-learn baselines on the same folds: a network that does not beat them is not worth a GPU.

Features are 10 x 10 thumbnails of the same motion maps, each map standardised. On MEGC 2019's flow images this is the
best of the sizes 7, 10, 14 and of raw against standardised maps, chosen on the very folds that are reported, so the
baselines are, if anything, flattered.
"""

import json
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mer_search.data.store import Motion
from mer_search.evaluation.folds import hardest_of
from mer_search.evaluation.metrics import Floats
from mer_search.files import write_whole

SIZE = 10  # pixels a side of a thumbnail
CHOSEN: dict[str, Callable[[], Any]] = {
    "logistic_regression": lambda: LogisticRegression(C=0.01, max_iter=1000),
    "rbf_svm": lambda: SVC(C=3.0),
}


def thumbnails(motion: Motion) -> NDArray[np.float32]:
    """(N, T * P * SIZE * SIZE) features of the clips' unjittered motion maps."""
    maps = motion.flow[motion.first].astype(np.float32)  # (N, T, P, H, W)
    maps -= maps.mean((-2, -1), keepdims=True)
    maps /= maps.std((-2, -1), keepdims=True) + 1e-6
    flat = maps.reshape(-1, *maps.shape[-2:])
    small = np.stack([cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for image in flat])
    return small.reshape(len(maps), -1)


def _fitted(name: str, features: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
    """A model trained on these. Where all are of one class, which scikit-learn's classifiers refuse, it says that."""
    model = CHOSEN[name]() if len(set(labels.tolist())) > 1 else DummyClassifier(strategy="prior")
    return make_pipeline(StandardScaler(), model).fit(features, labels)


def predict(
    name: str,
    motion: Motion,
    labels: NDArray[np.int64],
    folds: Sequence[str],
    on_fold: Callable[[], None] = lambda: None,
) -> NDArray[np.int64]:
    """(N,) class of every clip by a model that never saw its fold (its subject); `on_fold` is called after each."""
    features, out = thumbnails(motion), np.zeros_like(labels)
    for train, test in LeaveOneGroupOut().split(features, labels, folds):
        out[test] = _fitted(name, features[train], labels[train]).predict(features[test])
        on_fold()
    return out


def seconds_of(motion: Motion, labels: NDArray[np.int64], folds: Sequence[str]) -> float:
    """How long `predict` takes for all baselines: timed on one fold of each."""
    features, other = thumbnails(motion), np.asarray(folds) != folds[0]
    began = time.perf_counter()
    for name in CHOSEN:
        _fitted(name, features[other], labels[other])
    return (time.perf_counter() - began) * len(set(folds))


def predict_all(
    path: Path,
    motion: Motion,
    labels: NDArray[np.int64],
    subjects: Sequence[str],
    folds: Sequence[str],
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, NDArray[np.int64]]:
    """(N,) class of every clip by every baseline. They are kept in `path`, whose name must stand for the clips and
    their motion; a file that is damaged, or of other baselines than these, is written anew.

    `progress` is called with (what is done, done, total) after each fold."""
    recipe = {"thumbnail": SIZE, **{name: repr(make()) for name, make in CHOSEN.items()}}
    try:
        kept = json.loads(path.read_text())
        if kept["recipe"] == recipe:
            return {name: np.array(kept["predicted"][name], np.int64) for name in CHOSEN}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    done, total = count(1), len(CHOSEN) * len(set(folds))
    progress("fitting baselines", 0, total)
    predicted = {
        name: predict(name, motion, labels, folds, lambda: progress("fitting baselines", next(done), total))
        for name in CHOSEN
    }
    listed = {name: classes.tolist() for name, classes in predicted.items()}
    clips = {"labels": labels.tolist(), "subjects": list(subjects)}  # so that scores can be computed again
    write_whole(path, json.dumps({"recipe": recipe, **clips, "predicted": listed}))
    return predicted


def log_loss(motion: Motion, labels: NDArray[np.int64], subjects: Sequence[str]) -> Floats:
    """(N,) log-loss of every clip under the logistic regression that never saw its subject."""
    features, out = thumbnails(motion), np.zeros(len(labels))
    for train, test in LeaveOneGroupOut().split(features, labels, subjects):
        model = _fitted("logistic_regression", features[train], labels[train])
        probs = dict(zip(model.classes_, model.predict_proba(features[test]).T, strict=True))
        out[test] = [
            -np.log(max(probs.get(label, np.zeros(len(test)))[place], 1e-4)) for place, label in enumerate(labels[test])
        ]
    return out


def hardest_first(motion: Motion, labels: NDArray[np.int64], subjects: Sequence[str]) -> tuple[str, ...]:
    """All subjects, the hardest for the logistic regression first."""
    losses = log_loss(motion, labels, subjects)
    return hardest_of({subject: losses[np.asarray(subjects) == subject].sum() for subject in set(subjects)})

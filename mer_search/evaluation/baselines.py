"""Two scikit-learn baselines on the same folds: a network that does not beat them is not worth a GPU.

Features are 10 x 10 thumbnails of the same motion maps, each map standardised. On MEGC 2019's flow images this is the
best of the sizes 7, 10, 14 and of raw against standardised maps, chosen on the very folds that are reported, so the
baselines are, if anything, flattered.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
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
from mer_search.evaluation.metrics import Floats, Ints
from mer_search.files import write_whole

Progress = Callable[[str, int, int], None]  # (what is being done, done, total)
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


def _fitted(name: str, features: NDArray[np.float32], labels: Ints) -> Any:
    """A model trained on these. Where all are of one class, which scikit-learn's classifiers refuse, it says that."""
    model = CHOSEN[name]() if len(set(labels.tolist())) > 1 else DummyClassifier(strategy="prior")
    return make_pipeline(StandardScaler(), model).fit(features, labels)


def predict(
    name: str, motion: Motion, labels: Ints, folds: Sequence[str], on_fold: Callable[[], None] = lambda: None
) -> Ints:
    """(N,) class of every clip by a model that never saw its fold (its subject); `on_fold` is called after each."""
    features, out = thumbnails(motion), np.zeros_like(labels)
    for train, test in LeaveOneGroupOut().split(features, labels, folds):
        out[test] = _fitted(name, features[train], labels[train]).predict(features[test])
        on_fold()
    return out


def seconds_of(motion: Motion, labels: Ints, folds: Sequence[str]) -> float:
    """How long `predict` takes for all baselines: timed on one fold of each."""
    features, other = thumbnails(motion), np.asarray(folds) != folds[0]
    began = time.perf_counter()
    for name in CHOSEN:
        _fitted(name, features[other], labels[other])
    return (time.perf_counter() - began) * len(set(folds))


def keep_predictions(
    path: Path, motion: Motion, labels: Ints, subjects: Sequence[str], folds: Sequence[str], progress: Progress
) -> None:
    """Write the class of every clip by every baseline, with its label and subject, into `path`, whose name must stand
    for the clips and their motion; a file that is damaged, or of other baselines than these, is written anew."""
    recipe = {"thumbnail": SIZE, **{name: repr(make()) for name, make in CHOSEN.items()}}
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text())
        if kept["recipe"] == recipe and set(kept["predicted"]) == set(CHOSEN):
            return
    done, total = count(1), len(CHOSEN) * len(set(folds))
    progress("fitting baselines", 0, total)
    predicted = {
        name: predict(name, motion, labels, folds, lambda: progress("fitting baselines", next(done), total)).tolist()
        for name in CHOSEN
    }
    clips = {"labels": labels.tolist(), "subjects": list(subjects)}
    write_whole(path, json.dumps({"recipe": recipe, **clips, "predicted": predicted}))


def log_loss(motion: Motion, labels: Ints, subjects: Sequence[str]) -> Floats:
    """(N,) log-loss of every clip under the logistic regression that never saw its subject."""
    features, probs = thumbnails(motion), np.zeros((len(labels), labels.max() + 1))
    for train, test in LeaveOneGroupOut().split(features, labels, subjects):
        model = _fitted("logistic_regression", features[train], labels[train])
        probs[np.ix_(test, model.classes_)] = model.predict_proba(features[test])
    return np.asarray(-np.log(np.maximum(probs[np.arange(len(labels)), labels], 1e-4)))


def hardest_first(motion: Motion, labels: Ints, subjects: Sequence[str]) -> tuple[str, ...]:
    """All subjects, the hardest for the logistic regression first."""
    losses = log_loss(motion, labels, subjects)
    return hardest_of({subject: losses[np.asarray(subjects) == subject].sum() for subject in set(subjects)})

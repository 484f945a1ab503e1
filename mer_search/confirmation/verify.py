"""Whether what is stored agrees: a trial's value, a confirmation's figures and logs, computed again from predictions.

Each difference is one line: where, what is there and what it should be, and what to do.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from safetensors import safe_open

from mer_search.config import Run, digest, with_values
from mer_search.confirmation.compare import Contestant, comparison, tail_matrices
from mer_search.confirmation.confirm import groups_of
from mer_search.confirmation.folders import store_of
from mer_search.confirmation.scoring import (
    baseline,
    baselines_file,
    confirmed_folds,
    corrected,
    gap,
    read_subjects,
    scored,
    tables,
)
from mer_search.confirmation.summary import Summary, confirm_again, read_summary
from mer_search.errors import DataError, MerSearchError, UsageError
from mer_search.evaluation.metrics import RULES, pooled_uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.search.finals import final_folder, further_seeds
from mer_search.search.storage import FINALS, results
from mer_search.search.trial import trial_folder
from mer_search.training.fold_store import (
    FOLDS,
    TRAIN_AGAIN,
    Key,
    checkpoint_file,
    load_by_subject,
    load_folds,
    named,
    network_again,
    read_config,
    read_history,
)

CLOSE = 1e-9  # figures computed again may differ in their last bits, where subjects are summed in another order
LATER = ("published.csv", "epochs.csv", "action_units.csv")
RESTORE = "one of them was changed afterwards: restore both from the same backup, or do not use it"


class Checked(NamedTuple):
    """What was looked at, in words, and every difference."""

    what: list[str]
    differences: list[str]


def verify_study(study: optuna.Study) -> Checked:
    """All trials of a study, and all confirmations in its folder.

    Raises:
        DataError: if its folder is not there.
    """
    out = results(study)
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial_folder(out, trial.number).is_dir()]
    lost = [
        f"{trial_folder(out, trial.number)} must hold trial {trial.number}, but is not there; {RESTORE}"
        for trial in study.get_trials(deepcopy=False)
        if trial.state == TrialState.COMPLETE and trial not in trials
    ]
    folders = sorted(path.parent for path in (out / "confirm").glob("*/summary.json"))
    each = [verify_trial(study, trial.number) for trial in trials] + [verify_confirmation(path) for path in folders]
    what = [f"study {study.study_name}: {len(trials)} trials, {len(folders)} confirmations"]
    return Checked(
        what + [line for one in each for line in one.what], lost + [line for one in each for line in one.differences]
    )


def verify_trial(study: optuna.Study, number: int) -> Checked:
    """A trial's value against its predictions; of one that was stopped, or has not ended, only that folds are whole.

    Raises:
        UsageError: if the study has no such trial.
    """
    trials = study.get_trials(deepcopy=False)
    if number >= len(trials):
        raise UsageError(f"study {study.study_name!r} must have trial {number}, but has {len(trials)} trials")
    folder, trial = trial_folder(results(study), number), trials[number]
    stopped = "stopped_after" in trial.user_attrs
    word = "stopped early" if stopped and trial.state == TrialState.COMPLETE else trial.state.name.lower()
    return _checked(f"trial {number}, {word}", folder, lambda: _of_trial(folder, trial, study.user_attrs))


def verify_confirmation(folder: Path) -> Checked:
    """A confirmation's summary, tables and log against its predictions, and its checkpoints."""
    return _checked(f"{folder.parent.name}/{folder.name}", folder, lambda: _of_confirmation(folder))


def _checked(name: str, folder: Path, look: Callable[[], Iterator[str]]) -> Checked:
    """Differences as far as the files can be read; one that cannot is itself a difference."""
    found: list[str] = []
    try:
        for difference in look():
            found.append(f"{folder}: {difference}")
    except MerSearchError as error:
        found.append(str(error))
    except (OSError, LookupError, TypeError, ValueError) as error:  # of whatever was changed by hand
        found.append(f"{folder} must hold what a run writes, but something there is not ({error!r}); {RESTORE}")
    word = f"{len(found)} difference{'s' * (len(found) > 1)}" if found else "agrees"
    return Checked([f"{name}: {word}"], found)


def _of_trial(folder: Path, trial: FrozenTrial, facts: Mapping[str, Any]) -> Iterator[str]:
    if not (folder / "config.json").exists() and trial.state != TrialState.COMPLETE:
        return  # it ended, or was killed, before its training
    run, folds = _config(folder), list(load_folds(folder).values())
    yield from _of_folds(folder, run, folds)
    if digest(with_values(run, trial.params)) != digest(run):
        yield f"config.json must have the trial's values {trial.params}, but has others; {RESTORE}"
    if trial.state != TrialState.COMPLETE:
        return
    stopped = trial.user_attrs.get("stopped_after")
    epochs = trial.user_attrs["stopped_epochs"] if stopped else run.train.epochs
    there = [fold for fold in folds if fold.subject in facts["subjects"] and fold.epochs >= epochs]
    wanted = stopped or len(facts["subjects"])
    if len(there) < wanted:
        again = RESTORE if stopped else "`mer-search run` trains those again that are missing"
        yield f"{FOLDS} must hold {wanted} folds of {epochs} epochs, but holds {len(there)}; {again}"
    elif not stopped:
        value = pooled_uf1(there, RULES[facts["rule"]])
        if value != trial.values[0]:
            yield (
                f"its predictions give UF1 {value!r} under the {facts['rule']} rule, but the study has "
                f"{trial.values[0]!r}; {RESTORE}"
            )
    yield from _of_finals(
        final_folder(folder.parent, trial.number), facts, facts.get(FINALS, {}).get(str(trial.number))
    )


def _of_finals(folder: Path, facts: Mapping[str, Any], told: Sequence[float] | None) -> Iterator[str]:
    """Whether a finalist's folds give the UF1 that the study has for each further seed."""
    folds = load_folds(folder) if told else {}
    for seed, uf1 in zip(further_seeds(facts["seed"]), told or (), strict=False):
        there = [folds[seed, subject] for subject in facts["subjects"] if (seed, subject) in folds]
        if missing := [(seed, subject) for subject in facts["subjects"] if (seed, subject) not in folds]:
            yield f"{folder / FOLDS} lacks {named(missing)}; `mer-search run` the study again, which trains them"
        elif (value := pooled_uf1(there, RULES[facts["rule"]])) != uf1:
            yield f"{folder} must give the study's UF1 {uf1!r} with seed {seed}, but gives {value!r}; {RESTORE}"


def _config(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        DataError: if it cannot be read, or is not what it says it is.
    """
    path = folder / "config.json"
    run = read_config(path)
    said = json.loads(path.read_text())["digest"]
    if said != digest(run):
        raise DataError(f"{path} must have the digest of its run, {digest(run)}, but says {said}; {RESTORE}")
    return run


def _of_folds(folder: Path, run: Run, folds: Sequence[Predictions]) -> Iterator[str]:
    """Whether folds are whole: as many epochs as there may be, a probability of each class, a row of history each."""
    rows: dict[tuple[int, str], list[int]] = {}
    for row in read_history(folder):
        if row.stage == 2:
            rows.setdefault((row.seed, row.subject), []).append(row.epoch)
    classes = len(run.data.classes)
    for fold in folds:
        name, probs = f"fold {fold.subject}, seed {fold.seed}", fold.probabilities.astype(np.float64)
        if probs.shape[1:] != (len(fold.clips), classes) or fold.labels.shape != (len(fold.clips),):
            yield f"{name} must have {classes} probabilities and a label a clip, but has others; {TRAIN_AGAIN}"
        elif not np.allclose(probs.sum(-1), 1, atol=0.01) or not set(fold.labels.tolist()) <= set(range(classes)):
            yield f"{name} must have probabilities that sum to 1 and labels below {classes}; {TRAIN_AGAIN}"
        if fold.epochs > run.train.epochs:
            yield f"{name} must have at most {run.train.epochs} epochs, but has {fold.epochs}; {TRAIN_AGAIN}"
        trained = rows.get((fold.seed, fold.subject), [])
        epochs = len(trained) if trained and run.train.stop_when_perfect else fold.epochs
        if trained != [*range(1, epochs + 1)]:
            yield f"{FOLDS} must have a history of {fold.epochs} epochs of {name}, but has {trained}; {TRAIN_AGAIN}"


def _of_confirmation(folder: Path) -> Iterator[str]:
    store, table, again = store_of(folder), read_subjects(folder), confirm_again(folder)
    run, summary, on_disk = _config(store), read_summary(folder / "summary.json"), confirmed_folds(folder)
    folds, subjects = list(on_disk.values()), list(table)
    tuning = [subject for subject in subjects if table[subject]]
    groups = groups_of(subjects, tuning, summary.databases)
    trained = {(fold.seed, fold.fold): fold.whole or fold for fold in folds}
    yield from _of_folds(store, run, list(trained.values()))
    rules = scored(folds, groups, summary.ties)
    expected = {
        "digest": digest(run),
        "classes": run.data.classes,
        "n_clips": sum(len(on_disk[summary.seeds[0], subject].labels) for subject in subjects),
        "n_subjects": len(subjects),
        "n_tuning": len(tuning),
        "left_out": run.data.leave_out,
        "epochs": run.epochs,
        "rules": {rule: {name: one.model_dump() for name, one in scored.items()} for rule, scored in rules.items()},
        "gap": gap(rules),
        **_baselines(store, run, groups),
        **_bbc(folder, summary),
        **_comparison(store, summary, groups.get("other", ())),
    }
    stored = {key: value for key, value in summary.model_dump().items() if key in expected}
    for difference in unlike("", json.loads(json.dumps(expected)), json.loads(json.dumps(stored))):
        yield f"summary.json: {difference}; {again}"
    for name, text in tables(folds, tuning, run.data.dataset, summary.ties).items():
        if name in LATER and not (folder / name).exists():
            continue  # an earlier version did not write it
        if (folder / name).read_bytes() != text.encode():
            yield f"{name} must be what the predictions give, but is not; {again}"
    for key in trained:
        yield from _of_checkpoint(checkpoint_file(store, *key))


def _baselines(store: Path, run: Run, groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The baselines' scores from their kept classes.

    Raises:
        DataError: if these cannot be read.
    """
    path = baselines_file(store, run)
    try:
        kept = json.loads(path.read_text())
        labels = np.array(kept["labels"], np.int64)
        predicted = {name: np.array(classes, np.int64) for name, classes in kept["predicted"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} must hold the baselines' classes, but cannot be read ({error!r}); delete it, and "
            f"{confirm_again(store)}"
        ) from error
    return {
        "baselines": {
            name: {group: score.model_dump() for group, score in scores.items()}
            for name, classes in predicted.items()
            for scores in [baseline(classes, labels, kept["subjects"], groups, len(run.data.classes))]
        }
    }


def _bbc(folder: Path, summary: Summary) -> dict[str, Any]:
    """The corrected best of the search, from the trials that it says it was computed from."""
    if summary.uf1_bbc is None:
        return {}
    source = summary.uf1_bbc.of
    trials = [folder.parents[1] / name for name in source.trials]
    found = corrected(trials, source.subjects, summary.uf1_bbc.rule)
    if not found or found.of.trials != source.trials:
        raise DataError(
            f"each of {', '.join(source.trials)} in {folder.parents[1]} must hold the folds of all tuning subjects, by "
            "which the best is corrected, but not all do; the study's `mer-search run` trains them again"
        )
    return {"uf1_bbc": found.model_dump()}


def _comparison(store: Path, summary: Summary, other: Sequence[str]) -> dict[str, Any]:
    """The comparison with others, from the folds that lie beside this confirmation's."""
    if not (told := summary.comparison):
        return {}
    keys = [(seed, subject) for seed in told.seeds for subject in told.subjects]
    met = []
    for network in told.networks:
        matrices = tail_matrices(_folds_of(network.digest, store, keys), told.seeds, told.subjects)
        met.append(Contestant(network.name, network.digest, matrices, network.changed))
    found = comparison(met, told.subjects, told.seeds, other, told.dataset, told.synthetic)
    return {"comparison": found.model_dump() | {"start": told.start}}


def _folds_of(run: str, store: Path, keys: Sequence[Key]) -> Mapping[Key, Predictions]:
    """The folds of the run with that digest, in the first folder beside `store` that has all of them.

    Raises:
        DataError: if there is none.
    """
    folders = [path.parent for path in sorted(store.parent.glob("*/config.json")) if digest(read_config(path)) == run]
    for folder in folders:
        folds = load_by_subject(folder)
        if set(keys) <= set(folds):
            return folds
    where = " or ".join(map(str, folders)) or f"a folder beside {store}"
    raise DataError(f"{where} must hold the {len(keys)} folds that {store} was compared with; {confirm_again(store)}")


def _of_checkpoint(path: Path) -> Iterator[str]:
    try:
        with safe_open(path, "np") as stored:
            finite = all(np.isfinite(stored.get_tensor(name)).all() for name in stored.keys())  # noqa: SIM118 (no dict)
    except Exception as error:  # safetensors has its own
        yield f"checkpoints/{path.name} must hold a network, but cannot be read ({error}); {network_again(path)}"
        return
    if not finite:
        yield f"checkpoints/{path.name} must hold finite weights, but does not; {network_again(path)}"


def unlike(where: str, expected: Any, stored: Any) -> Iterator[str]:
    """Where two JSON trees differ, floats by more than CLOSE: one line a leaf."""
    if isinstance(expected, dict) and isinstance(stored, dict):
        for key in expected | stored:
            yield from unlike(f"{where}.{key}" if where else key, expected.get(key), stored.get(key))
    elif isinstance(expected, list) and isinstance(stored, list) and len(expected) == len(stored):
        for place, (one, other) in enumerate(zip(expected, stored, strict=True)):
            yield from unlike(f"{where}[{place}]", one, other)
    elif isinstance(expected, float) and isinstance(stored, int | float):
        if not abs(expected - stored) <= CLOSE:
            yield f"{where} is {stored!r}, but the predictions give {expected!r}"
    elif expected != stored:
        yield f"{where} is {stored!r}, but the predictions give {expected!r}"

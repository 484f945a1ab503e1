"""Whether what is stored agrees: a trial's value, a confirmation's figures and logs, computed again from predictions.

Each difference is one line: where, what is there and what it should be, and what to do.
"""

import glob
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from mer_search.config import Run, digest, with_values
from mer_search.confirmation.compare import Contestant, comparison, tail_matrices
from mer_search.confirmation.folders import store_of
from mer_search.confirmation.scoring import baselines_file, confirmed_folds, corrected, figures, tables
from mer_search.confirmation.summary import Comparison, Corrected, confirm_again, read_subjects, read_summary
from mer_search.errors import DataError, MerSearchError, UsageError
from mer_search.evaluation.metrics import RULES, pooled_uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.search.finals import further_seeds
from mer_search.search.progress import STATE_WORDS
from mer_search.search.resume import file_of
from mer_search.search.storage import FINALS, results, was_evaluated
from mer_search.search.trial import final_folder, trial_folder
from mer_search.training import fold_store
from mer_search.training.fold_store import FOLDS, TRAIN_AGAIN, Key

CLOSE = 1e-9  # figures computed again may differ in their last bits, where subjects are summed in another order
LATER = ("published.csv", "epochs.csv", "action_units.csv")  # files that an earlier version did not write
LATER_FIELDS = ("against_baseline", "tuning_by_database")  # of a summary, as is `given`
RESTORE = "one of them was changed afterwards: restore both from the same backup, or do not use it"


class Checked(NamedTuple):
    """What was looked at, in words, and every difference."""

    what: list[str]
    differences: list[str]


def verify_study(study: optuna.Study) -> Checked:
    """All trials of a study, and all confirmations in its folder."""
    out = results(study)
    folders = sorted(path.parent for path in (out / "confirm").glob("*/summary.json"))
    lost, each = [], []
    try:
        file_of(study)
    except DataError as error:
        lost.append(str(error))
    for trial in study.get_trials(deepcopy=False):
        folder = trial_folder(out, trial.number)
        if folder.is_dir():
            each.append(verify_trial(study, trial.number))
        elif was_evaluated(trial):
            lost.append(f"{folder} must hold trial {trial.number}, but is not there; {RESTORE}")
    several = "s" if len(folders) != 1 else ""
    what = f"study {study.study_name}: {len(each)} trials, {len(folders)} confirmation{several}"
    each += map(verify_confirmation, folders)
    differences = lost + [line for one in each for line in one.differences]
    return Checked([what, *(line for one in each for line in one.what)], differences)


def verify_trial(study: optuna.Study, number: int) -> Checked:
    """A trial's value against its predictions; of one that was stopped, or has not ended, only that folds are whole."""
    trials = study.get_trials(deepcopy=False)
    if number >= len(trials):
        raise UsageError(f"study {study.study_name!r} must have trial {number}, but has {len(trials)} trials")
    folder, trial = trial_folder(results(study), number), trials[number]
    stopped = "stopped_after" in trial.user_attrs and trial.state == TrialState.COMPLETE
    word = "stopped early" if stopped else STATE_WORDS.get(trial.state, trial.state.name.lower())
    return _checked(f"trial {number}, {word}", folder, _of_trial(folder, trial, study.user_attrs))


def verify_confirmation(folder: Path) -> Checked:
    """A confirmation's summary, tables and log against its predictions, and its checkpoints."""
    return _checked(f"{folder.resolve().parent.name}/{folder.name}", folder, _of_confirmation(folder))


def _checked(name: str, folder: Path, differences: Iterator[str]) -> Checked:
    """Differences as far as the files can be read; one that cannot is itself a difference."""
    found: list[str] = []
    try:
        for difference in differences:
            found.append(f"{folder}: {difference}")
    except MerSearchError as error:
        found.append(str(error))
    except (OSError, LookupError, TypeError, ValueError) as error:  # of whatever was changed by hand
        found.append(f"{folder} must hold what a run writes, but something there is not ({error!r}); {RESTORE}")
    word = f"{len(found)} difference{'s' * (len(found) > 1)}" if found else "agrees"
    return Checked([f"{name}: {word}"], found)


def _of_trial(folder: Path, trial: FrozenTrial, facts: Mapping[str, Any]) -> Iterator[str]:
    complete = trial.state == TrialState.COMPLETE
    if not complete and not (folder / "config.json").exists():
        return  # it ended, or was killed, before its training
    run, folds = _config(folder), list(fold_store.load_folds(folder).values())
    yield from _of_folds(folder, run, folds)
    if digest(with_values(run, trial.params)) != digest(run):
        yield f"config.json must have the trial's values {trial.params}, but has others; {RESTORE}"
    if not complete:
        return
    stopped = trial.user_attrs.get("stopped_after")
    epochs = trial.user_attrs["stopped_epochs"] if stopped else run.train.epochs
    there = [fold for fold in folds if fold.subject in facts["subjects"] and fold.epochs >= epochs]
    wanted = stopped or len(facts["subjects"])
    if len(there) < wanted:
        again = RESTORE if stopped else "`mer-search run` trains those again that are missing"
        yield f"{FOLDS} must hold {wanted} folds of {epochs} epochs, but holds {len(there)}; {again}"
    elif not stopped and (value := pooled_uf1(there, RULES[facts["rule"]])) != trial.values[0]:
        said = f"its predictions give UF1 {value!r} under the {facts['rule']} rule"
        yield f"{said}, but the study has {trial.values[0]!r}; {RESTORE}"
    told = facts.get(FINALS, {}).get(str(trial.number), ())
    if told:
        yield from _of_finals(final_folder(folder.parent, trial.number), run, facts, told)


def _of_finals(folder: Path, run: Run, facts: Mapping[str, Any], told: Sequence[float]) -> Iterator[str]:
    """Whether a finalist's folds, of its trial's run, give the UF1 that the study has for each further seed."""
    folds = fold_store.load_folds(folder)
    if digest(_config(folder)) != digest(run):
        yield f"{folder / 'config.json'} must be the trial's, but is not; {RESTORE}"
    for seed, uf1 in zip(further_seeds(facts["seed"]), told, strict=False):
        keys = [(seed, subject) for subject in facts["subjects"]]
        if missing := [key for key in keys if key not in folds]:
            lacking = fold_store.named(missing)
            yield f"{folder / FOLDS} lacks {lacking}; `mer-search run` the study again, which trains them"
        elif (value := pooled_uf1([folds[key] for key in keys], RULES[facts["rule"]])) != uf1:
            yield f"{folder} must give the study's UF1 {uf1!r} with seed {seed}, but gives {value!r}; {RESTORE}"


def _config(folder: Path) -> Run:
    """The run in a folder."""
    path = folder / "config.json"
    run = fold_store.read_config(path)
    said = json.loads(path.read_text())["digest"]
    if said != digest(run):
        raise DataError(f"{path} must have the digest of its run, {digest(run)}, but says {said}; {RESTORE}")
    return run


def _of_folds(folder: Path, run: Run, folds: Sequence[Predictions]) -> Iterator[str]:
    """Whether folds are whole: as many epochs as there may be, a probability of each class, a row of history each."""
    rows: dict[Key, list[int]] = {}
    for row in fold_store.read_history(folder):
        if row.stage == 2:
            rows.setdefault((row.seed, row.subject), []).append(row.epoch)
    classes = len(run.data.classes)
    for fold in folds:
        name, probs = f"fold {fold.subject}, seed {fold.seed}", fold.probabilities.astype(np.float64)
        if probs.shape[-1] != classes or not np.allclose(probs.sum(-1), 1, atol=0.01):
            yield f"{name} must have probabilities of {classes} classes that sum to 1; {TRAIN_AGAIN}"
        if fold.epochs > run.train.epochs:
            yield f"{name} must have at most {run.train.epochs} epochs, but has {fold.epochs}; {TRAIN_AGAIN}"
        trained = rows.get((fold.seed, fold.subject), [])
        epochs = len(trained) if trained and run.train.stop_when_perfect else fold.epochs
        if trained != [*range(1, epochs + 1)]:
            yield f"{FOLDS} must have a history of {fold.epochs} epochs of {name}, but has {trained}; {TRAIN_AGAIN}"


def _of_confirmation(folder: Path) -> Iterator[str]:
    store, tuned, summary = store_of(folder), read_subjects(folder), read_summary(folder / "summary.json")
    run, on_disk, again = _config(store), confirmed_folds(folder), confirm_again(folder, summary.seeds)
    folds = list(on_disk.values())
    trained = {(fold.seed, fold.fold): fold.whole or fold for fold in folds}
    yield from _of_folds(store, run, list(trained.values()))
    found = figures(run, folds, tuned, summary.databases, summary.ties, baselines_file(store, run))
    if "given" not in summary.model_fields_set:  # an earlier version's
        for name in LATER_FIELDS:
            del found[name]
    if summary.given and not store.name.startswith("against-"):
        yield f"summary.json: given is True, but of a trial it is False; {again}"
    try:
        if summary.uf1_bbc:
            found["uf1_bbc"] = _corrected(folder, summary.uf1_bbc)
        if summary.comparison:
            found["comparison"] = _comparison(store, summary.comparison, tuned, summary.classes)
    except DataError as error:  # of other folders
        yield str(error)
    expected, stored = (json.loads(each.to_json()) for each in (summary.model_copy(update=found), summary))
    for difference in unlike("", expected, stored):
        yield f"summary.json: {difference}; {again}"
    for name, text in tables(folds, tuned, run.data.dataset, summary.ties).items():
        is_old = name in LATER and not (folder / name).exists()
        if not is_old and (folder / name).read_bytes() != text.encode():
            yield f"{name} must be what the predictions give, but is not; {again}"
    for key in trained:
        last = fold_store.checkpoint_file(store, *key)
        for path in (last, *sorted(last.parent.glob(f"{glob.escape(last.stem)}.*.safetensors"))):
            try:
                fold_store.load_network(path, run, "cpu")
            except DataError as error:
                yield str(error)


def _corrected(folder: Path, told: Corrected) -> Corrected:
    """The corrected best of the search, from the trials that it says it was computed from."""
    names = told.of.trials
    found = corrected([folder.parents[1] / name for name in names], told.of.subjects, told.rule)
    if not found or found.of.trials != names:
        raise DataError(
            f"each of {', '.join(names)} in {folder.parents[1]} must hold the folds of all tuning subjects, by which "
            "the best is corrected, but not all do; the study's `mer-search run` trains them again"
        )
    return found


def _comparison(store: Path, told: Comparison, tuned: Mapping[str, bool], classes: Sequence[str]) -> Comparison:
    """The comparison with others, from the folds that lie beside this confirmation's."""
    keys = [(seed, subject) for seed in told.seeds for subject in told.subjects]
    met = []
    for network in told.networks:
        run, folds = _folds_of(network.digest, store, keys)
        matrices = tail_matrices(folds.values(), told.seeds, told.subjects)
        met.append(Contestant(network.name, network.digest, matrices, network.changed, run.leaks))
    tuning = [subject for subject in told.subjects if tuned[subject]]
    found = comparison(met, told.subjects, told.seeds, tuning, classes, told.dataset, told.synthetic)
    return found.model_copy(update={"start": told.start})


def _folds_of(wanted: str, store: Path, keys: Sequence[Key]) -> tuple[Run, Mapping[Key, Predictions]]:
    """The run with that digest and its folds, in the first folder beside `store` that has all of them."""
    runs = {path.parent: fold_store.read_config(path) for path in sorted(store.parent.glob("*/config.json"))}
    folders = [folder for folder, run in runs.items() if digest(run) == wanted]
    for folder in folders:
        folds = fold_store.load_by_subject(folder)
        if set(keys) <= set(folds):
            return runs[folder], folds
    where = " or ".join(map(str, folders)) or f"a folder beside {store}"
    seeds = sorted({seed for seed, _ in keys})
    raise DataError(
        f"{where} must hold the {len(keys)} folds that {store} was compared with; {confirm_again(store, seeds)}"
    )


def unlike(where: str, expected: Any, stored: Any) -> Iterator[str]:
    """Where two JSON trees differ, floats by more than CLOSE: one line a leaf."""
    if isinstance(expected, dict) and isinstance(stored, dict):
        for key in expected | stored:
            yield from unlike(f"{where}.{key}" if where else key, expected.get(key), stored.get(key))
    elif isinstance(expected, list) and isinstance(stored, list) and len(expected) == len(stored):
        for place, (one, other) in enumerate(zip(expected, stored, strict=True)):
            yield from unlike(f"{where}[{place}]", one, other)
    else:
        numbers = isinstance(expected, float) and isinstance(stored, int | float)
        if not (abs(expected - stored) <= CLOSE if numbers else expected == stored):
            yield f"{where} is {stored!r}, but the predictions give {expected!r}"

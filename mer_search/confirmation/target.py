"""What can be confirmed: a trial of a study, where its search started, or a published network."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna

from mer_search.config import Data, Run, Value, digest, value_at, with_values
from mer_search.confirmation.summary import NAMED_VALUES
from mer_search.errors import DataError, UsageError
from mer_search.files import RUNS
from mer_search.presets import ALIASES, entry, preset
from mer_search.search.resume import file_of
from mer_search.search.storage import find_trial, ran_to_its_end, ranked_trials, results
from mer_search.search.trial import trial_folder
from mer_search.search.workspace import Progress, find_data
from mer_search.training.fold_store import read_config
from mer_search.training.loop import LAST

FIRST_SEED = 1000  # a search's seeds lie below


@dataclass(frozen=True)
class Target:
    """A configuration to confirm, and where it comes from."""

    run: Run
    title: str  # "trial 7 of demo", "V3NR"
    folder: Path
    data: Path | None = None  # the study's; None for a preset
    checksum: str = ""  # of the clips that it was searched on
    tuning: tuple[str, ...] = ()  # what the search scored, subjects or databases; () without a search
    tuning_subjects: str = ""  # as its study file has them
    rule: str = "tail"  # its
    trials: tuple[Path, ...] = ()  # folders of the search's complete trials
    trained: Path | None = None  # the trial's folder, which knows on what motion it was trained
    name: str = ""  # of a preset
    recipe: str = ""  # of a preset, one of presets.RECIPES
    ties: str = "earliest"  # which of equal epochs the published rule takes, of metrics.PUBLISHED_RULES
    keep: tuple[str, ...] = (LAST,)  # which weights of each fold are kept, of training.loop.KEPT
    leave_out: str = "subject"  # in the search's folds
    changed: Mapping[str, Value] = field(default_factory=dict)  # values of a preset that are not its own
    given: bool = False  # beside a search's trial, such as its start, which is not what the search puts first

    @property
    def short(self) -> str:
        """Its title without the values that were set in it, for lines of progress."""
        return self.title.partition(" with ")[0]


def trial_target(study: optuna.Study, number: int | None) -> Target:
    """A finished trial of a study; the best if `number` is None."""
    trial, facts = find_trial(study, number), study.user_attrs
    out = results(study)
    folder = trial_folder(out, trial.number)
    run = read_config(folder / "config.json")
    return Target(
        run,
        f"trial {trial.number} of {study.study_name}",
        out / "confirm" / f"trial-{trial.number}",
        Path(facts["data"]),
        facts["checksum"],
        tuple(facts["subjects"]),
        file_of(study).subjects,
        facts["rule"],
        tuple(trial_folder(out, each.number) for each in study.get_trials(deepcopy=False) if ran_to_its_end(each)),
        folder,
        leave_out=run.data.leave_out,
    )


def top_targets(study: optuna.Study, count: int) -> list[Target]:
    """The best trials that ran to their end, the best first."""
    ranked = ranked_trials(study)
    if len(ranked) < count:
        raise UsageError(
            f"--top must be at most the number of different trials of study {study.study_name!r} that ran to their "
            f"end, {len(ranked)}, but got {count}; those that were stopped early have only an estimate"
        )
    return [trial_target(study, trial.number) for trial in ranked[:count]]


def start_target(study: optuna.Study, preset_name: str, found: Sequence[Target]) -> Target:
    """Where a study's search started: its base preset with the values under [set] and those of the first [[start]].

    If there is no [[start]], or `preset_name` is given, the preset with the values under [set], and called so. If one
    of the trials `found` is the very configuration, it is returned.
    """
    file = file_of(study)
    title = f"{preset_name or file.preset}, set as in the study"
    run = with_values(preset(preset_name, file.recipe), file.settings) if preset_name else file.first
    if file.start and not preset_name:
        title = "the search's start"
    run = run.model_copy(update={"data": found[0].run.data})
    folder = found[0].folder.with_name(f"against-{digest(run)[:8]}")  # the same configuration has the same folds
    best = trial_target(study, None).run.model_copy(update={"data": run.data})
    given = digest(best) != digest(run)
    other = replace(found[0], run=run, title=title, folder=folder, trials=(), trained=None, given=given)
    return next((target for target in found if digest(target.run) == digest(run)), other)


def targets_of(
    networks: Iterable[str],
    study: Callable[[], optuna.Study],
    values: Mapping[str, Value],
    folds: Mapping[str, Value],
    recipe: str,
    out: Path,
) -> dict[str, Target]:
    """Networks that are to be compared, by their names: a preset's, or the number of a trial of the study. Presets have
    these values and this recipe, and the task, folds and folder of the trials, if there are some; `folds` are values of
    `data` that go before these."""
    names = list(networks)
    numbers = [name for name in names if re.fullmatch("[0-9]{1,9}", name)]
    if (values or recipe) and numbers == names:
        raise UsageError(
            f"{'--set' if values else '--as-published'} goes with presets, for a trial has its values; leave it out or "
            "name a preset"
        )
    trials = {name: trial_target(study(), int(name)) for name in numbers}
    shared: dict[str, Value] = {}
    if trials:
        first = trials[numbers[0]]
        shared = {"data.task": first.run.data.task, "data.leave_out": first.leave_out}
        out = out_of(trials, out)
    return {
        name: on(trials[name], {**shared, **folds})
        if name in trials
        else preset_target(name, {**shared, **values, **folds}, out, recipe)
        for name in names
    }


def out_of(targets: Mapping[str, Target], out: Path) -> Path:
    """The folder for results: `out`, if it is not the default, else that in which targets have theirs."""
    return next(iter(targets.values())).folder.parents[2] if out == RUNS else out


def data_for(targets: Iterable[Target], given: Path | None, progress: Progress) -> Path:
    """The folder of the clips that targets are confirmed on: as given, else their study's, else see `find_data`."""
    known = next((target for target in targets if target.data), None)
    path = find_data(given or (known.data if known else None), progress)
    if known and not given and not path.is_dir():
        raise DataError(
            f"the data of {known.title} must be in {path}, but there is no such folder; if it was moved, give the "
            "--data where it is now to `mer-search run`, which tells the study"
        )
    return path


def on(target: Target, values: Mapping[str, Value]) -> Target:
    """The same on another task of the data, or with other folds: values of `data`."""
    return replace(target, run=with_values(target.run, values))


def seeds_of(targets: Collection[Target], count: int, first: int | None) -> range:
    """The seeds of a confirmation: `count` from `first` on, or where it is None from 1000 on; the public code's 0 of
    networks as published. Those that the search of a trial can have used are refused."""
    if first is None:
        first = 0 if all(target.recipe for target in targets) else FIRST_SEED
    if first < FIRST_SEED and (trials := [target.title for target in targets if target.checksum]):
        raise UsageError(
            f"{trials[0]} must be confirmed with seeds that its search cannot have used, from {FIRST_SEED} on, but "
            f"--seed is {first}"
        )
    return range(first, first + count)


def check_different(targets: Iterable[Target]) -> None:
    """Raise UsageError if two of these are one network under two names, as values of one's own may make them."""
    met: dict[str, Target] = {}
    for target in targets:
        key = digest(target.run.model_copy(update={"data": Data(task=target.run.data.task)}))
        if key in met:
            raise UsageError(
                f"networks that are compared must differ, but {met[key].title} and {target.title} are the same network "
                "under these values; leave one of them out, or set other values"
            )
        met[key] = target


def preset_target(name: str, values: Mapping[str, Value], out: Path, recipe: str = "") -> Target:
    """A published network in a recipe (presets.RECIPES), with some values of one's own; the data's task and folds are
    no part of what changes it.

    Its title tells recipe and changes: "V4 with flow.size=32", or where they are many, how many and a digest of them:
    "V4 with 12 values set (3f2a)". Its folder's name is completed with the run's digest once the data is known.
    """
    own, name = preset(name, recipe), ALIASES.get(name, name)
    run = with_values(own, values)
    changed = {key: each for key, each in values.items() if not key.startswith("data.") and value_at(own, key) != each}
    given = ", ".join(f"{key}={value}" for key, value in changed.items())
    if len(changed) > NAMED_VALUES:
        given = f"{len(changed)} values set ({hashlib.sha256(given.encode()).hexdigest()[:4]})"
    title = f"{name}{' as published' if recipe else ''}{' with ' if given else ''}{given}"
    folder, ties = out / "presets" / "confirm" / name, entry(name).ties
    return Target(run, title, folder, name=name, recipe=recipe, ties=ties, changed=changed)

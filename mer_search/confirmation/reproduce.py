"""The published table anew: every network as its public code has it, under the published rule and under ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np

from mer_search.config import Value, with_values
from mer_search.confirmation.confirm import Announce, confirm_all, prepare
from mer_search.confirmation.plans import Step, follow, load_plan
from mer_search.confirmation.scoring import summarise, write
from mer_search.confirmation.summary import Summary
from mer_search.confirmation.target import Target, preset_target
from mer_search.engine.where import Where
from mer_search.evaluation.metrics import PUBLISHED_RULES, fold_confusion, macro_f1, uf1
from mer_search.evaluation.predictions import grouped
from mer_search.presets import ALIASES, PRESETS, deviations, entry, published_values
from mer_search.search.workspace import Progress

VARIANTS = tuple(name for name in PRESETS if name != "MMNet-3")  # of the specification: they share a task
PLAN = "decision"  # the specification's way to choose the best version


@dataclass(frozen=True)
class Reproduced:
    """A network that was trained as published."""

    name: str  # of its preset
    title: str  # "V5 as published"
    published: float | None  # macro F1, under the published rule
    summary: Summary
    matrices: Mapping[str, np.ndarray]  # (seeds, K, K) of each subject, under the published rule
    comparable: bool = True  # whether these are the clips and subjects of the published figures

    @property
    def f1(self) -> float:
        """Macro F1 of all subjects under the published rule: mean over seeds."""
        return self.summary.rules["best_test_epoch"]["all"].uf1

    def f1_of(self, subjects: Sequence[str]) -> float:
        """The same of some subjects."""
        return float(uf1(np.sum([self.matrices[subject] for subject in subjects], axis=0)).mean())

    @property
    def subjects(self) -> dict[str, float]:
        """The same of each subject alone, over the classes that occur or are predicted there."""
        return {subject: float(macro_f1(own).mean()) for subject, own in self.matrices.items()}


def targets_of(names: Sequence[str], values: Mapping[str, Value], out: Path) -> list[Target]:
    """The networks of these names as published, all variants if there is none, with some values of one's own; how many
    cropped copies there are is set where there are some."""
    targets = []
    for name in dict.fromkeys(ALIASES.get(name, name) for name in names) or VARIANTS:
        published = published_values(name)
        own = {path: value for path, value in values.items() if path != "frames.crops" or path in published}
        targets.append(preset_target(name, own, out, "published"))
    return targets


def without_each(name: str, values: Mapping[str, Value], out: Path) -> list[Target]:
    """A network as published, and then with each of this tool's deviations in the place of what is published."""
    whole = preset_target(name, values, out, "published")
    found = [whole]
    for number, own in deviations(name).items():
        run = with_values(whole.run, own)
        if run != whole.run:  # where the user's value is ours
            found.append(replace(whole, run=run, title=f"{name}, {number} as ours"))
    return found


def reproduce(
    targets: Sequence[Target],
    path: Path,
    subjects: str,
    seeds: Sequence[int],
    where: Where,
    progress: Progress,
    announce: Announce,
) -> list[Reproduced]:
    """Train networks, and write each one's tables. The arguments are those of `prepare` and `confirm_all`."""
    jobs, found = prepare(targets, path, subjects, seeds, progress), []
    for job, folds in zip(jobs, confirm_all(jobs, where, progress, announce), strict=True):
        summary, rule = summarise(job, folds, progress), PUBLISHED_RULES[job.target.ties]
        write(job, folds, summary)
        by_subject = grouped(folds, "subject").items()
        matrices = {name: np.array([fold_confusion(fold, rule) for fold in own]) for name, own in by_subject}
        name, folder = job.target.name, job.loaded.folder
        same = job.is_whole and (folder.name, folder.task, folder.synthetic) == ("casme2", "5", False)
        found.append(Reproduced(name, job.target.title, entry(name).published_f1, summary, matrices, same))
    return found


@dataclass(frozen=True)
class Decision:
    """A step of the specification's way to the best version, under the published rule."""

    step: Step
    scores: Mapping[str, float]  # network -> macro F1 on the step's subjects; {} where nothing was to be compared
    winner: str


def decide(found: Sequence[Reproduced]) -> list[Decision]:
    """The steps as far as their networks and subjects were reproduced."""
    by_name, known = {each.name: each for each in found}, list(found[0].matrices)
    steps = load_plan(PLAN)
    possible = takewhile(
        lambda step: set(step.compare) <= {*by_name, *(each.name for each in steps)} and _present(step.subjects, known),
        steps,
    )

    def evaluate(names: Sequence[str], subjects: str) -> tuple[int, dict[str, float]]:
        scores = {name: by_name[name].f1_of(_present(subjects, known)) for name in names}
        return int(np.argmax(list(scores.values()))), scores

    return [Decision(step, scores or {}, winner) for step, _, winner, scores in follow(possible, evaluate)]


def _present(text: str, known: Sequence[str]) -> Sequence[str]:
    """The subjects that are there: of `all`, or of a range such as 1-10."""
    if text == "all":
        return known
    first, _, last = text.partition("-")
    numbers = range(int(first), int(last) + 1)
    return [subject for subject in known if any(subject.endswith(f"{number:02d}") for number in numbers)]

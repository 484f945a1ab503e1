"""What is printed: tables, and what a run shows while it goes on."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from mer_search.config import Value
from mer_search.report.dashboard import describe_trial
from mer_search.search.claims import ENDED
from mer_search.search.cost import Cost
from mer_search.search.postgres import EMBEDDED
from mer_search.search.storage import DEFAULT, score, shown
from mer_search.search.study import Evaluation, Watcher
from mer_search.training.loop import Epoch

# Lines are never wrapped here, so that a path or a command can be copied; tables are.
out = Console(highlight=False, soft_wrap=True)  # results
err = Console(stderr=True, highlight=False, soft_wrap=True)  # progress and warnings


def show(table: Table) -> None:
    """Print a table to the console's width."""
    out.print(table, soft_wrap=False)


def say(text: str) -> None:
    """Print a sentence, wrapped between words."""
    out.print(text, soft_wrap=False, markup=False)


def plain_table(*columns: str, left: int = 1, title: str | None = None, caption: str | None = None) -> Table:
    """A table whose first columns are text and the others are numbers."""
    table = Table(
        title=title,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left else "right", no_wrap=True)
    return table


def note(line: str) -> None:
    """A sentence beside the results, wrapped between words."""
    err.print(line, soft_wrap=False, markup=False)


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for each thing that is being done: call it with (what, done, total).

    Where nobody sees bars, a line at every tenth.
    """
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    ) as progress:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if not err.is_terminal and total and 10 * done // total > 10 * (done - 1) // total:
                note(f"{what}: {done} of {total}")
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield show


def values_text(values: dict[str, Any]) -> str:
    """Parameters in one line, without their parts' names: "channels=nr lr=0.0008"."""
    return " ".join(
        f"{key.split('.')[1]}={value:.3g}" if isinstance(value, float) else f"{key.split('.')[1]}={value}"
        for key, value in values.items()
    )


def trial_line(trial: FrozenTrial) -> str:
    """How a trial ended, in one line."""
    if "infeasible" in trial.user_attrs:
        result = f"infeasible: {trial.user_attrs['infeasible']}"
    elif trial.state == TrialState.FAIL:
        result = f"failed: {trial.user_attrs.get('error', '').splitlines()[0]}"
    elif "stopped_after" in trial.user_attrs:
        result = f"stopped after {trial.user_attrs['stopped_after']} subjects, UF1 about {score(trial):.3f}"
    else:
        result = f"UF1 {score(trial):.3f}"
    return f"trial {trial.number:3d}  {result}  {values_text(trial.params)}"


class Describing(Watcher):
    """Attaches note and picture to each trial, and shows nothing: what a worker among several does."""

    def __init__(self, artifacts: Path) -> None:
        self.artifacts = artifacts

    def evaluated(self, trial: optuna.Trial, evaluation: Evaluation) -> None:
        describe_trial(trial, evaluation, self.artifacts)


class Live(Describing):
    """Bars for trials, folds and epochs, the best so far, and a line for every trial that ended.

    Bars of folds and epochs appear with the first fold, so not where others train.
    """

    def __init__(self, trials: int, done: int, artifacts: Path) -> None:
        super().__init__(artifacts)
        self.progress = Progress(
            TextColumn("{task.description:<34.34}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=err,
            transient=True,
        )
        self.trials = self.progress.add_task("trials", completed=done, total=trials)
        self.folds = self.progress.add_task("folds", total=None, visible=False)
        self.epochs = self.progress.add_task("epochs", total=None, visible=False)

    def __enter__(self) -> "Live":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def trial(self, number: int, done: int, values: dict[str, Value]) -> None:
        self.progress.update(self.trials, completed=done)
        self.progress.update(self.folds, completed=0, description=f"trial {number}: folds", visible=True)

    def preparing(self, what: str, done: int, total: int) -> None:
        self.progress.update(self.epochs, completed=done, total=total, description=what, visible=True)

    def epoch(self, epoch: Epoch, of: int) -> None:
        self.progress.update(
            self.epochs,
            completed=epoch.epoch,
            total=of,
            description=f"{epoch.subject}: epochs, loss {epoch.train_loss:.3f}",
            visible=True,
        )

    def fold(self, subject: str, done: int, of: int, uf1_so_far: float) -> None:
        self.progress.update(
            self.folds, completed=done, total=of, description=f"{self._folds_title()} UF1 {uf1_so_far:.3f}"
        )

    def _folds_title(self) -> str:
        return self.progress.tasks[self.folds].description.split("folds")[0] + "folds,"

    def told(self, trial: FrozenTrial, best: FrozenTrial | None) -> None:
        if trial.state in ENDED:
            self.progress.advance(self.trials)
        if best is not None:
            self.progress.update(self.trials, description=f"trials, best {best.number}: UF1 {score(best):.3f}")
        self.progress.console.print(trial_line(trial), markup=False)


def study_table(study: optuna.Study, best: FrozenTrial | None, rows: int = 10) -> Table:
    """The best trials of a study."""
    table = Table(title=f"{study.study_name}: {study.user_attrs['dataset']}", title_justify="left")
    for column in ("trial", "UF1", "folds", "GFLOP", "values"):
        table.add_column(column, justify="left" if column == "values" else "right")
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    for trial in sorted(trials, key=score, reverse=True)[:rows]:
        stopped = trial.user_attrs.get("stopped_after")
        table.add_row(
            f"{trial.number}{' *' if best is not None and trial.number == best.number else ''}",
            f"{'~' if stopped else ''}{score(trial):.3f}",
            str(stopped or len(study.user_attrs["subjects"])),
            f"{trial.user_attrs['gflop']:.3g}",
            values_text(trial.params),
        )
    return table


def front_table(facts: dict[str, Any]) -> Table:
    """Trials that no other one beats both in UF1 and in what is minimised beside it."""
    table = Table(title=f"Pareto front of UF1 and {facts['also']}", title_justify="left")
    for column in ("trial", "UF1", facts["also"]):
        table.add_column(column, justify="right")
    for row in sorted(facts["pareto_front"], key=lambda row: row["uf1"], reverse=True):
        table.add_row(str(row["trial"]), f"{row['uf1']:.3f}", f"{row[facts['also']]:,.5g}")
    return table


TITLES = {  # of what summary.json holds
    "tail": "tail, leak-free",
    "last": "last epoch, leak-free",
    "inner": "inner subjects, leak-free",
    "best_test_epoch": "best test epoch (LEAKS)",
    "logistic_regression": "baseline: logistic regr.",
    "rbf_svm": "baseline: RBF SVM",
}
LEGEND = (
    "UF1 and sd: mean and deviation over seeds. 95 %: for new people like these. averaged: UF1 of the seeds' mean "
    "probability. unsearched: subjects that the search never scored. corrected: BBC-CV over the search's trials, of "
    "one seed each. best test epoch: the rule of published figures, which picks each subject's epoch on that very "
    "subject."
)


def summary_rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    """What a confirmation found, as rows: estimate, subjects, UF1, sd, 95 % interval, UF1 of the seeds averaged.

    "all" are all that were asked for.
    """
    found = [(TITLES[rule], groups) for rule, groups in summary["rules"].items()]
    if summary["uf1_bbc"]:
        found.append(("search's best, corrected", {"searched": summary["uf1_bbc"]}))
    found += [(TITLES[name], groups) for name, groups in summary["baselines"].items()]
    people = {"all": summary["n_subjects"], "unsearched": summary["n_unsearched"]}
    if summary["uf1_bbc"]:
        people["searched"] = summary["uf1_bbc"]["n_subjects"]
    return [
        (
            title,
            f"{people[group]} {group}",
            *(decimals(score.get(key)) for key in ("uf1", "sd", "ci95", "seed_mean_uf1")),
        )
        for title, groups in found
        for group, score in groups.items()
    ]


def decimals(score: float | Sequence[float] | None) -> str:
    """Three decimals; an interval as "0.475-0.677"; nothing for None."""
    if score is None:
        return ""
    return f"{score:.3f}" if isinstance(score, float) else "-".join(f"{end:.3f}" for end in score)


def summary_table(summary: dict[str, Any]) -> Table:
    """The confirmation's table for the terminal."""
    table = plain_table(
        "estimate",
        "subjects",
        "UF1",
        "sd",
        "95 % interval",
        "averaged",
        left=2,
        title=f"{summary['title']}: {summary['dataset']}, {summary['n_clips']} clips, "
        f"{summary['n_subjects']} subjects, {len(summary['seeds'])} seed{'s' if len(summary['seeds']) > 1 else ''}",
        caption=LEGEND,
    )
    for row in summary_rows(summary):
        table.add_row(*row, style="bold" if row[0] == TITLES["tail"] else None)
    return table


def verdict(summary: dict[str, Any]) -> str:
    """Whether the network beats the baselines, in one line."""
    network = summary["rules"]["tail"]["all"]["uf1"]
    name, best = max(
        ((name, groups["all"]["uf1"]) for name, groups in summary["baselines"].items()), key=lambda it: it[1]
    )
    title = TITLES[name].removeprefix("baseline: ")
    if network > best:
        return f"{summary['title']}: mean UF1 {network:.3f} is above the better baseline's ({title}, {best:.3f})."
    return f"{summary['title']}: mean UF1 {network:.3f} does NOT beat a baseline: {title} reaches {best:.3f}."


def duration(seconds: float) -> str:
    """A time as a person says it: "45 s", "3.2 min", "1.5 h"."""
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.1f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def operations(flop: float) -> str:
    """A number of floating-point operations as a person says it: "8.7 TFLOP", "39 PFLOP"."""
    power = max(0, min(4, int(math.log10(flop)) // 3 - 2))
    return f"{flop / 1000 ** (power + 2):.3g} {'MGTPE'[power]}FLOP"


def print_cost(cost: Cost, where: str) -> None:
    """What a search is about to cost."""
    if not cost.trials:
        err.print("cost: nothing, the study has all its trials")
        return
    trials = f"{cost.trials} more trial{'s' if cost.trials > 1 else ''} of {cost.folds // cost.trials} folds"
    note(f"cost: {trials}, {effort(cost, where)} if none is stopped early")


def effort(cost: Cost, where: str) -> str:
    """Operations and time: "about 3 TFLOP and 12 s of training on 2 processes"."""
    return f"about {operations(cost.flop)} and {duration(cost.seconds)} of training on {where}"


def processes(count: int) -> str:
    """ "1 process", "2 processes"."""
    return f"{count} process{'es' if count > 1 else ''}"


def print_next(storage: str, name: str, folder: Path) -> None:
    """Where to look, and what to do next."""
    options = ("" if storage == DEFAULT else f" --storage {shown(storage)}") + f" --name {name}"
    say("* the best; ~ an estimate, of a trial that was stopped early. The best of many looks better than it is:")
    out.print(f"  see it:      mer-search status{options}")
    out.print(f"  confirm it:  mer-search confirm{options}")
    out.print(f"  look at it:  mer-search dashboard{options}")
    if not storage.startswith(EMBEDDED):  # which is there only while we need it
        out.print(f"       or:     optuna-dashboard {shown(storage)} --artifact-dir {folder / 'artifacts'}")

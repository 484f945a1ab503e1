"""What a search shows: its cost before, and itself while it goes on."""

from collections.abc import Iterable
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from mer_search.config import Value
from mer_search.report.dashboard import describe_study, describe_trial
from mer_search.report.terminal import duration, err, note, operations
from mer_search.report.trials import trial_line, values_text
from mer_search.search.claims import ENDED
from mer_search.search.cost import Cost
from mer_search.search.storage import score
from mer_search.search.study import Evaluation, Watcher
from mer_search.training.loop import Epoch


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


class Describing(Watcher):
    """Attaches note and picture to each trial, and shows nothing: what a worker among several does."""

    def __init__(self, artifacts: Path) -> None:
        self.artifacts = artifacts

    def evaluated(self, trial: optuna.Trial, evaluation: Evaluation) -> None:
        describe_trial(trial, evaluation, self.artifacts)


class _Bars(Progress):
    """Bars, and under them the best trial's values."""

    best = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.best:
            yield Text(self.best, no_wrap=True, overflow="ellipsis")


class Live(Describing):
    """Bars for trials, folds and epochs, the best so far, and a line for every trial that ended.

    Bars of folds and epochs appear with the first fold, so not where others train.
    """

    def __init__(self, study: optuna.Study, trials: int, done: int, artifacts: Path) -> None:
        super().__init__(artifacts)
        self.study = study
        self.progress = _Bars(
            TextColumn("{task.description:<40.40}", markup=False),
            BarColumn(18),
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
            description=f"{epoch.subject}: epochs, loss {epoch.train_loss:.3f}"
            + (f", batches in {epoch.pieces}" if epoch.pieces > 1 else ""),
            visible=True,
        )

    def fold(self, subject: str, done: int, of: int, uf1_so_far: float) -> None:
        self.progress.update(
            self.folds, completed=done, total=of, description=f"{self._folds_title()} UF1 {uf1_so_far:.3f}"
        )

    def _folds_title(self) -> str:
        return self.progress.tasks[self.folds].description.split("folds")[0] + "folds,"

    def waiting(self) -> None:
        self.progress.update(self.trials, description="trials, waiting for the database")

    def told(self, trial: FrozenTrial, best: FrozenTrial | None) -> None:
        if trial.state in ENDED:
            self.progress.advance(self.trials)
        if best is not None:
            stopped = sum("stopped_after" in each.user_attrs for each in self.study.get_trials(deepcopy=False))
            text = f"trials, best {best.number}: UF1 {score(best):.3f}, {stopped} stopped"
            self.progress.update(self.trials, description=text)
            self.progress.best = f"best: {values_text(best.params)}"
        self.progress.console.print(trial_line(trial), markup=False, soft_wrap=not err.is_terminal)
        describe_study(self.study)

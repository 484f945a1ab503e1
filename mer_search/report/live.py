"""What a search shows while it goes on."""

import time
from collections.abc import Iterable
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from rich.console import RenderableType
from rich.progress import Progress
from rich.text import Text

from mer_search.engine.stop import check
from mer_search.report.dashboard import describe_study, describe_trial
from mer_search.report.terminal import err, new_bars, note
from mer_search.report.trials import final_line, trial_line, values_text
from mer_search.search.finals import Final
from mer_search.search.scheduler import Scheduler
from mer_search.search.storage import ended, is_stopped, score
from mer_search.search.study import Event, Lost, Restored, Scored, Trained
from mer_search.search.trial import Evaluation
from mer_search.training.loop import Epoch

FIRST, LAST = 2.0, 60.0  # seconds without a line before the first of progress, where there are no bars, and the last


class _Bars(Progress):
    """Bars, and under them the best trial's values."""

    best = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.best:
            yield Text(self.best, no_wrap=True, overflow="ellipsis")


class Live:
    """Bars for trials, folds and epochs, the best so far, and a line for every trial that ended; attaches note and
    pictures to each trial."""

    def __init__(self, study: optuna.Study, trials: int, done: int, artifacts: Path) -> None:
        self.study, self.wanted, self.artifacts = study, trials, artifacts
        self.progress = new_bars(_Bars, "{task.description:<40.40}", 18)
        self.done, self.under_way = done, dict[int, float]()  # trials that have ended; of others the share that is done
        self.trials = self.progress.add_task("trials", completed=done, total=trials)
        self.folds = self.progress.add_task("folds", total=None, visible=False)
        self.epochs = self.progress.add_task("epochs", total=None, visible=False)
        self.told, self.pause = time.monotonic(), FIRST  # when a line was printed last, and how long after one is again

    def __enter__(self) -> "Live":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def preparing(self, what: str, done: int, total: int) -> None:
        """Motion is measured anew."""
        check()
        self.progress.update(self.epochs, completed=done, total=total, description=what, visible=True)

    def show(self, event: Event | Final) -> None:
        """What has happened."""
        if isinstance(event, Trained):
            self._epoch(event.epoch, event.of)
            self._tell(f"trial {event.number}: epoch {event.epoch.epoch} of {event.of} without {event.epoch.subject}")
        elif isinstance(event, Scored):
            rungs = " of all rungs" if event.of > len(self.study.user_attrs["subjects"]) else ""
            finals = "finals, " * (self.done >= self.wanted)
            text = f"{finals}trial {event.number}: folds{rungs}"
            self.progress.update(self.folds, completed=event.done, total=event.of, description=text, visible=True)
            self.under_way[event.number] = event.done / event.of
            self._move()
            self._tell(f"{text} {event.done} of {event.of}")
        elif isinstance(event, Restored):
            _line(f"trial {event.number}: the fold of {event.subject} had been lost, and was trained again")
        elif isinstance(event, Lost):
            _line(f"a worker died ({event.cause}) at {event.subject} of trial {event.number}; the fold begins again")
        elif isinstance(event, Evaluation):
            describe_trial(event.trial, event, self.artifacts)
        elif isinstance(event, Final):
            _line(final_line(event))
            describe_study(self.study)
        else:
            self._told(event.trial, event.best)

    def _tell(self, line: str) -> None:
        """Print a line of progress where there are no bars and none was printed for long: the longer, the later."""
        if not err.is_terminal and time.monotonic() - self.told > self.pause:
            self.told, self.pause = time.monotonic(), min(2 * self.pause, LAST)
            note(f"{line}; {self.done} of {self.wanted} trials have ended")

    def _move(self) -> None:
        """Move the bar of trials, by which the time left is estimated, also within trials."""
        self.progress.update(self.trials, completed=min(self.done + sum(self.under_way.values()), self.wanted))

    def _epoch(self, epoch: Epoch, of: int) -> None:
        cut = f", batches cut into {epoch.microbatches}" if epoch.microbatches > 1 else ""
        text = f"{epoch.subject}: epochs, loss {epoch.train_loss:.3f}{cut}"
        self.progress.update(self.epochs, completed=epoch.epoch, total=of, description=text, visible=True)

    def _told(self, trial: FrozenTrial, best: FrozenTrial | None) -> None:
        self.under_way.pop(trial.number, None)
        self.done = ended(self.study)
        self._move()
        if best is not None:
            stopped = sum(map(is_stopped, self.study.get_trials(deepcopy=False)))
            text = f"trials, best {best.number}: UF1 {score(best):.3f}, {stopped} stopped"
            self.progress.update(self.trials, description=text)
            self.progress.best = f"best: {values_text(best.params)}"
        _line(trial_line(trial))
        describe_study(self.study)


def _line(text: str) -> None:
    """What is to stay: wrapped on a terminal, a line of a log elsewhere."""
    err.print(text, soft_wrap=not err.is_terminal)


def print_wasted(scheduler: Scheduler) -> None:
    """How much was trained ahead and thrown away, because its trial was stopped before it was needed."""
    if scheduler.wasted:
        note(
            "trained ahead of the pruner's decision and thrown away: "
            f"{scheduler.wasted / scheduler.trained:.1%} of {scheduler.trained:,} epochs of folds"
        )

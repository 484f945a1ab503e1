"""What a search shows while it goes on."""

import time
from pathlib import Path
from statistics import mean

import optuna

from mer_search.engine.stop import check
from mer_search.errors import StorageError
from mer_search.report.dashboard import describe_study, describe_trial
from mer_search.report.terminal import cut, err, new_bars, note
from mer_search.report.trials import trial_line
from mer_search.search.finals import Final, finalists
from mer_search.search.scheduler import Scheduler
from mer_search.search.storage import FINALS, best_trial, ended, is_stopped, score
from mer_search.search.study import Event, Lost, Restored, Scored, Told, Trained
from mer_search.search.trial import Evaluation, Search

FIRST, LAST = 2.0, 60.0  # seconds without a line before the first of progress, where there are no bars, and the last
NOTES = 0.05  # share of the time that the study's note may take


class Live:
    """Bars for trials, folds and epochs, and a line for every trial that ended, whose note and pictures it attaches."""

    def __init__(self, study: optuna.Study, trials: int, done: int, artifacts: Path) -> None:
        self.study, self.wanted, self.artifacts = study, trials, artifacts
        self.progress = new_bars("{task.description:<40.40}", 18)
        self.done, self.under_way = done, dict[int, float]()  # trials that have ended; of others the share that is done
        self.trials = self.progress.add_task("trials", completed=done, total=trials)
        self.folds = self.progress.add_task("folds", total=None, visible=False)
        self.epochs = self.progress.add_task("epochs", total=None, visible=False)
        self.next_note = 0.0  # when the study's note may be written again
        self.told, self.pause = time.monotonic(), FIRST  # when a line was printed last, and how long after one is again

    def __enter__(self) -> "Live":
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.progress.stop()
        if kind is None or not issubclass(kind, StorageError):
            describe_study(self.study)

    def preparing(self, what: str, done: int, total: int) -> None:
        """Motion is measured anew."""
        check()
        self.progress.update(self.epochs, completed=done, total=total, description=what, visible=True)

    def show(self, event: Event | Final) -> None:
        """What has happened."""
        match event:
            case Trained(number, epoch, of):
                text = f"{epoch.subject}: epochs, loss {epoch.train_loss:.3f}{cut(epoch.microbatches)}"
                self.progress.update(self.epochs, completed=epoch.epoch, total=of, description=text, visible=True)
                self._tell(f"trial {number}: epoch {epoch.epoch} of {of} without {epoch.subject}")
            case Scored(number, _, done, of):
                rungs = " of all rungs" if of > len(self.study.user_attrs["subjects"]) else ""
                text = f"{'finals, ' * (self.done >= self.wanted)}trial {number}: folds{rungs}"
                self.progress.update(self.folds, completed=done, total=of, description=text, visible=True)
                self.under_way[number] = done / of
                self._tell(f"{text} {done} of {of}")
            case Restored(number, subject):
                _line(f"trial {number}: the fold of {subject} had been lost, and was trained again")
            case Lost(number, subject, cause):
                _line(f"a worker died ({cause}) at {subject} of trial {number}; the fold begins again")
            case Evaluation():
                describe_trial(event.trial, event, self.artifacts)
            case Final(number, scores):
                each = ", ".join(f"{uf1:.3f}" for uf1 in scores)
                _line(f"trial {number:3d}  finals, {len(scores)} seeds: UF1 {mean(scores):.3f}, the mean of {each}")
                self._describe()
            case Told(trial):
                self.under_way.pop(trial.number, None)
                self.done = ended(self.study)
                if best := best_trial(self.study):
                    stopped = sum(map(is_stopped, self.study.get_trials(deepcopy=False)))
                    text = f"trials, best {best.number}: UF1 {score(best):.3f}, {stopped} stopped"
                    self.progress.update(self.trials, description=text)
                _line(trial_line(trial))
                self._describe()
        # the time left is estimated by the bar of trials, which moves within trials, too
        self.progress.update(self.trials, completed=min(self.done + sum(self.under_way.values()), self.wanted))

    def _describe(self) -> None:
        """Write the study's note and draw its history, which takes longer the more trials it has, in a small share of
        the time; what is left out now is described in the end."""
        start = time.monotonic()
        if start >= self.next_note:
            describe_study(self.study)
            end = time.monotonic()
            self.next_note = end + (end - start) / NOTES

    def _tell(self, line: str) -> None:
        """Print a line of progress where there are no bars and none was printed for long: the longer, the later."""
        if not err.is_terminal and time.monotonic() - self.told > self.pause:
            self.told, self.pause = time.monotonic(), min(2 * self.pause, LAST)
            note(f"{line}; {self.done} of {self.wanted} trials have ended")


def _line(text: str) -> None:
    """What is to stay: wrapped on a terminal, a line of a log elsewhere."""
    err.print(text, soft_wrap=not err.is_terminal)


def print_wasted(scheduler: Scheduler) -> None:
    """How much was trained ahead and thrown away, because its trial was stopped before it was needed."""
    if scheduler.wasted:
        share = f"{scheduler.wasted / scheduler.trained:.1%} of {scheduler.trained:,} epochs of folds"
        note(f"trained ahead of the pruner's decision and thrown away: {share}")


def print_left_out(search: Search, study: optuna.Study) -> None:
    """Which of a search's best trials got no further seed in its finals."""
    held, others = study.user_attrs.get(FINALS, {}), [str(trial.number) for trial in finalists(search, study)[1:]]
    if out := [number for number in others if number not in held]:
        trials = f"trial{'s' * (len(out) > 1)} {' and '.join(out)}"
        note(f"finals: of the best trials, {trials} lay clearly behind, and got no further seed")

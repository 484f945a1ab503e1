"""Searches and confirmations that are killed at random moments, and started again: is anything lost, doubled or left
behind? Run it: python tests/kill_campaign.py --search 100 --confirm 50

Half of the kills take the whole process group, as a machine's out-of-memory killer or a batch system may, half the
command alone. Everything is real, but tiny: four people, 24 flow images, four epochs of a very small network.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from conftest import STUDY, write_flow_images

from mer_search.config import digest
from mer_search.search.storage import find_study, open_storage, ranked_trials
from mer_search.training.loso import PREDICTIONS, read_config
from mer_search.training.predictions import load

TEXT = (
    STUDY.split("[[start]]")[0]
    .replace('pruner = "none"', 'pruner = "recall-rungs"')
    .replace('"train.epochs" = 2', '"train.epochs" = 4')
)
PROCESSES = len(os.sched_getaffinity(0))  # each may lose a fold when it is killed
MARK = "MER_SEARCH_CAMPAIGN"  # an environment variable by which our processes are known
Fold = tuple[str, str, str]  # digest of the run, seed, subject


def spy() -> None:
    """mer-search itself, which writes down every epoch that it has trained."""
    from mer_search.cli import main
    from mer_search.config import digest
    from mer_search.training.pool import Pool

    real, log = Pool.train, os.open(sys.argv[2], os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    def train(self, clips, tasks, on_epoch, on_fold):
        run = digest(tasks[0].run) if tasks else ""

        def told(epoch):
            os.write(log, f"{run} {epoch.seed} {epoch.subject} {epoch.epoch}\n".encode())
            on_epoch(epoch)

        return real(self, clips, tasks, told, on_fold)

    Pool.train = train
    main(sys.argv[3:], prog_name="mer-search")


class Campaign:
    """A folder in which commands are killed, and what was found wrong there."""

    def __init__(self, folder: Path, luck: random.Random) -> None:
        self.folder, self.luck = folder, luck
        self.kills, self.lost, self.wrong = 0, 0, []
        write_flow_images(folder / "flow")
        (folder / "small.toml").write_text(TEXT)

    def start(self, name: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, __file__, "--spy", f"{name}.log", *map(str, arguments), "--name", name]
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache"), MARK: str(self.folder)}
        with (self.folder / "output.log").open("a") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def drive(self, name: str, kills: int, most: int, *arguments: object) -> None:
        """A command on a study, killed so many times at most, and called again until it has ended by itself."""
        shots: list[tuple[int, dict[Fold, int]]] = []  # after each kill: what had been trained, what was on disk
        while True:
            process = self.start(name, *arguments)
            if len(shots) == kills:
                break
            self._wait(name, process, most)
            if process.poll() is not None:
                break
            (os.killpg if self.luck.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            shots.append((len(self.trained(name)), self.on_disk(name)))
        if process.wait(600) != 0:
            self.wrong.append(f"{arguments} ended with {process.returncode}")
        self.kills += len(shots)
        self._judge(self.trained(name), shots)

    def _wait(self, name: str, process: subprocess.Popen, epochs: int) -> None:
        """A random while, until the process is on its way or up to so many epochs further; at most until it ends."""
        if self.luck.random() < 0.25:
            time.sleep(self.luck.uniform(0.3, 5))
            return
        wanted = len(self.trained(name)) + self.luck.randint(1, epochs)
        while process.poll() is None and len(self.trained(name)) < wanted:
            time.sleep(0.01)
        time.sleep(self.luck.uniform(0, 0.1))

    def _judge(self, trained: list[tuple[Fold, int]], shots: list[tuple[int, dict[Fold, int]]]) -> None:
        begin = 0
        for end, there in shots:
            again = {(fold, epoch) for fold, epoch in trained[end:] if epoch <= there.get(fold, 0)}
            self.wrong += [f"epoch {epoch} of {fold} was on disk and was trained again" for fold, epoch in again]
            lost = {fold for fold, epoch in trained[begin:end] if epoch > there.get(fold, 0)}
            if len(lost) > PROCESSES:
                self.wrong.append(f"one kill lost {len(lost)} folds: {lost}")
            self.lost += len(lost)
            begin = end

    def trained(self, name: str) -> list[tuple[Fold, int]]:
        """Every epoch of a study that was trained, in order."""
        path = self.folder / f"{name}.log"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [((run, seed, subject), int(epoch)) for run, seed, subject, epoch in lines]

    def on_disk(self, name: str) -> dict[Fold, int]:
        """How many epochs of each of a study's folds are on disk."""
        found = {}
        for path in (self.folder / "runs" / name).rglob("predictions.npz"):
            run = digest(read_config(path.with_name("config.json")))
            found |= {(run, str(fold.seed), fold.subject): fold.epochs for fold in load(path)}
        return found

    def check(self, name: str, trials: int) -> None:
        """Whether a study has its trials, nothing is left behind, and what is stored agrees."""
        states = Counter(trial.state.name for trial in self.study(name).get_trials())
        if states != {"COMPLETE": trials}:
            self.wrong.append(f"{name} must have {trials} complete trials, but has {dict(states)}")
        self.wrong += [f"{path} was left behind" for path in self.folder.rglob("*.partial")]
        if self.start(name, "verify").wait(60) != 0:
            self.wrong.append(f"verify found differences in {name}")
        deadline = time.monotonic() + 10
        while (alive := self._alive()) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in alive:
            self.wrong.append(f"process {pid} was left behind")
            os.kill(pid, signal.SIGKILL)

    def study(self, name: str) -> optuna.Study:
        return find_study(open_storage(f"sqlite:///{self.folder}/mer-search.db"), name)

    def _alive(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{MARK}={self.folder}\0".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found

    def search(self, name: str, trials: int, kills: int, most: int = 24) -> None:
        self.drive(name, kills, most, "run", "--study", "small.toml", "--data", "flow", "--trials", trials)
        self.check(name, trials)

    def confirm(self, name: str, trial: int, trials: int, seeds: int, kills: int, most: int = 80) -> None:
        self.drive(name, kills, most, "confirm", "--trial", trial, "--against", "none", "--seeds", seeds)
        self.check(name, trials)

    def compare(self, name: str, other: str) -> None:
        """Whether two studies, one of them never killed, drew the same values and found the same."""
        for one, two in zip(self.study(name).get_trials(), self.study(other).get_trials(), strict=True):
            paths = [self.folder / "runs" / each / f"trial-{one.number:04d}" / PREDICTIONS for each in (name, other)]
            if "stopped_after" not in one.user_attrs and paths[0].read_bytes() != paths[1].read_bytes():
                self.wrong.append(f"{paths[0]} and {paths[1]} differ")
            if (one.params, one.values) != (two.params, two.values):
                self.wrong.append(f"trial {one.number} has {one.values} in {name} and {two.values} in {other}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--search", type=int, default=100, help="kills of searches")
    parser.add_argument("--confirm", type=int, default=50, help="kills of confirmations")
    parser.add_argument("--trials", type=int, default=12, help="trials of each study")
    parser.add_argument("--seeds", type=int, default=60, help="seeds of each confirmation")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with TemporaryDirectory() as root:
        campaign, began = Campaign(Path(root), random.Random(asked.seed)), time.monotonic()
        campaign.search("untouched", asked.trials, 0)
        studies = 0
        print(f"a study of {asked.trials} trials, not killed: {time.monotonic() - began:.0f} s", flush=True)
        while (left := asked.search - campaign.kills) > 0:
            name, studies = f"study{studies}", studies + 1
            campaign.search(name, asked.trials, left)
            campaign.compare(name, "untouched")
        print(f"search: {campaign.kills} kills of {studies} studies, {campaign.lost} folds lost", flush=True)
        killed, lost = campaign.kills, campaign.lost
        whole = [trial.number for trial in ranked_trials(campaign.study("untouched"))]
        while (left := asked.confirm - campaign.kills + killed) > 0:
            campaign.confirm("untouched", whole.pop(), asked.trials, asked.seeds, left)
        print(f"confirmation: {campaign.kills - killed} kills, {campaign.lost - lost} folds lost")
        print(f"{time.monotonic() - began:.0f} s")
        print("\n".join(campaign.wrong) or "nothing was wrong")
        if campaign.wrong:
            print((Path(root) / "output.log").read_text()[-4000:])
    sys.exit(1 if campaign.wrong else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--spy"]:
        spy()
    else:
        main()

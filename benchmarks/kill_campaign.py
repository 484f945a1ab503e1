"""Searches and confirmations whose processes are killed: is anything lost, doubled, condemned or left behind?

    PYTHONPATH=tests python benchmarks/kill_campaign.py \\
        --driver 100 --confirm 20 --worker 100 --ray-worker 20 --ray-node 10

A driver is killed with its whole process group, as a machine's out-of-memory killer or a batch system may do it, or
alone, and the same command is called again. A process that trains, or a node of a Ray cluster, is killed while the
search goes on: no fold's process twice, for that is what a fold that kills its process does. Everything is real, but
tiny: four people, 24 flow images, four epochs of a very small network.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from small import STUDY, write_flow_images

from mer_search.config import digest
from mer_search.confirmation.verify import verify_study
from mer_search.search.storage import find_study, open_storage, ranked_trials
from mer_search.training.fold_store import fold_file, load_folds, read_config

TEXT = (
    STUDY.split("[[start]]")[0]
    .replace('pruner = "none"', 'pruner = "recall-rungs"')
    .replace('"train.epochs" = 2', '"train.epochs" = 4')
)
SLOTS = 2  # each may lose a fold when its process is killed
NODES = 2  # of a Ray cluster, of as many slots each
SPY = Path(__file__).with_name("spied.py")
MARK = "MER_SEARCH_CAMPAIGN"  # an environment variable by which our processes are known
Fold = tuple[str, str, str]  # digest of the run, seed, subject
Shots = list[tuple[int, dict[Fold, int]]]  # after each kill: how many epochs had been trained, those on disk


class Cluster:
    """A Ray cluster on this machine, whose nodes can be killed."""

    def __init__(self, luck: random.Random) -> None:
        from ray.cluster_utils import Cluster as Nodes

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self.luck = luck
        self.cluster = Nodes(True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE})
        self.nodes = [self.cluster.add_node(num_cpus=SLOTS, **STORE) for _ in range(NODES)]

    def kill_node(self, _: str) -> bool:
        """A node dies at once, and another joins."""
        lost = self.nodes.pop(self.luck.randrange(len(self.nodes)))
        self.cluster.remove_node(lost, allow_graceful=False)
        self.nodes.append(self.cluster.add_node(num_cpus=SLOTS, **STORE))
        return True


STORE = {"object_store_memory": 80 << 20}


class Campaign:
    """A folder in which commands are killed, and what was found wrong there."""

    def __init__(self, folder: Path, luck: random.Random) -> None:
        self.folder, self.luck, self.cluster = folder, luck, None
        self.kills, self.lost, self.wrong = 0, 0, []
        write_flow_images(folder / "flow")
        (folder / "small.toml").write_text(TEXT)

    def start(self, name: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, SPY, f"{name}.log", *map(str, arguments), "--study-name", name]
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache"), MARK: str(self.folder)}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # where this script's own modules are
        if self.cluster:
            environment["RAY_ADDRESS"] = self.cluster.cluster.address
        with (self.folder / "output.log").open("a") as output:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def drive(self, name: str, kills: int, most: int, *arguments: object) -> None:
        """A command on a study, killed so many times at most, and called again until it has ended by itself."""
        shots: Shots = []
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
        self._judge(name, process, arguments, shots)

    def drive_through(self, name: str, kills: int, kill, apart: int, *arguments: object) -> None:
        """A command that goes on while `kill` kills what trains for it, after so many folds each time."""
        shots: Shots = []
        process, wanted = self.start(name, *arguments), 1
        while process.poll() is None:
            time.sleep(self.luck.uniform(0, 0.05))
            there = self.on_disk(name)
            if len(shots) < kills and sum(there.values()) >= wanted and kill(name):
                # First: the command goes on, and what it trains meanwhile is not on disk yet.
                there = self.on_disk(name)
                shots.append((len(self.trained(name)), there))
                wanted = sum(there.values()) + self.luck.randint(apart, 2 * apart)
        self._judge(name, process, arguments, shots)

    def kill_worker(self, name: str) -> bool:
        """A process that trains a fold whose process has not died before is killed; whether there is one.

        It is stopped first, until the command has looked for news twice: then it is known at which fold it is.
        """
        alive = [pid for pid in self._at(name) if Path(f"/proc/{pid}").exists()]
        with suppress(ProcessLookupError, IndexError):  # the command has ended, and its processes with it
            os.kill(pid := self.luck.choice(alive), signal.SIGSTOP)
            polls, deaths = self._count(name, "poll"), self._count(name, "died")
            self._until(lambda: self._count(name, "poll") >= polls + 2)
            if [*self._at(name)[pid], "died"] in self.noted(name):
                os.kill(pid, signal.SIGCONT)
                return False
            os.kill(pid, signal.SIGKILL)
            return self._until(lambda: self._count(name, "died") > deaths)
        return False

    def kill_ray_worker(self, name: str) -> bool:
        """A process of the cluster is killed, unless a fold whose process has died has not been trained since; whether
        one that trains was."""
        titles = {path: path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()}
        found = [int(path.parent.name) for path, title in titles.items() if title.startswith(b"ray::Worker")]
        last = {tuple(fold): what for *fold, what in self.noted(name) if what in ("died", "ended")}
        if not found or "died" in last.values():
            return False
        deaths = self._count(name, "died")
        os.kill(self.luck.choice(found), signal.SIGKILL)
        return self._until(lambda: self._count(name, "died") > deaths)

    def _until(self, condition) -> bool:
        """Wait for what a command writes down, and whether it came; at most three seconds, for it may have ended, or
        the process be idle."""
        deadline = time.monotonic() + 3
        while not (came := condition()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return came

    def _count(self, name: str, what: str) -> int:
        return sum(line[3] == what for line in self.noted(name))

    def _at(self, name: str) -> dict[int, Fold]:
        """Process -> the fold that it was given last."""
        return {int(what[3:]): tuple(fold) for *fold, what in self.noted(name) if what.startswith("by ")}

    def _wait(self, name: str, process: subprocess.Popen, epochs: int) -> None:
        """A random while, until the process is on its way or up to so many epochs further; at most until it ends."""
        if self.luck.random() < 0.25:
            time.sleep(self.luck.uniform(0.3, 5))
            return
        wanted = len(self.trained(name)) + self.luck.randint(1, epochs)
        while process.poll() is None and len(self.trained(name)) < wanted:
            time.sleep(0.01)
        time.sleep(self.luck.uniform(0, 0.1))

    def _judge(self, name: str, process: subprocess.Popen, arguments: Sequence[object], shots: Shots) -> None:
        """Wait until a command has ended by itself, and see what its kills have cost."""
        if process.wait(600) != 0:
            self.wrong.append(f"{arguments} ended with {process.returncode}")
        self.kills += len(shots)
        trained, begin = self.trained(name), 0
        for end, there in shots:
            again = {(fold, epoch) for fold, epoch in trained[end:] if epoch <= there.get(fold, 0)}
            self.wrong += [f"epoch {epoch} of {fold} was on disk and was trained again" for fold, epoch in again]
            lost = {fold for fold, epoch in trained[begin:end] if epoch > there.get(fold, 0)}
            if len(lost) > SLOTS * NODES:
                self.wrong.append(f"one kill lost {len(lost)} folds: {lost}")
            self.lost += len(lost)
            begin = end

    def noted(self, name: str) -> list[list[str]]:
        """What was written down of a study: run, seed, subject, and an epoch or a process."""
        path = self.folder / f"{name}.log"
        return [line.split(" ", 3) for line in path.read_text().splitlines()] if path.exists() else []

    def trained(self, name: str) -> list[tuple[Fold, int]]:
        """Every epoch of a study that was trained, in order."""
        return [((run, seed, who), int(what)) for run, seed, who, what in self.noted(name) if what.isdigit()]

    def on_disk(self, name: str) -> dict[Fold, int]:
        """How many epochs of each of a study's folds are on disk."""
        found = {}
        for folder, _, files in os.walk(self.folder / "runs" / name):  # which passes over folders that go meanwhile
            if "config.json" not in files:
                continue
            run = digest(read_config(Path(folder) / "config.json"))
            folds = load_folds(Path(folder))
            found |= {(run, str(seed), subject): fold.epochs for (seed, subject), fold in folds.items()}
        return found

    def check(self, name: str, trials: int) -> None:
        """Whether a study has its trials, nothing is left behind, and what is stored agrees."""
        states = Counter(trial.state.name for trial in self.study(name).get_trials())
        if states != {"COMPLETE": trials}:
            reasons = [trial.user_attrs.get("infeasible") for trial in self.study(name).get_trials()]
            self.wrong.append(f"{name} must have {trials} complete trials, but has {dict(states)}: {reasons}")
        self.wrong += [f"{path} was left behind" for path in self.folder.rglob("*.partial")]
        self.wrong += verify_study(self.study(name)).differences
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
        self.drive(name, kills, most, *self._run(trials))
        self.check(name, trials)

    def search_through(self, name: str, trials: int, kills: int, kill, apart: int) -> None:
        executor = ["--executor", "ray"] if self.cluster else []
        self.drive_through(name, kills, kill, apart, *self._run(trials), *executor)
        self.check(name, trials)

    def _run(self, trials: int) -> list[object]:
        options = ["--slots", SLOTS * NODES if self.cluster else SLOTS, "--in-flight", 2]
        return ["run", "--study", "small.toml", "--data", "flow", "--trials", trials, *options]

    def confirm(self, name: str, trial: int, trials: int, seeds: int, kills: int, most: int = 80) -> None:
        self.drive(name, kills, most, "confirm", "--trial", trial, "--against", "none", "--seeds", seeds)
        self.check(name, trials)

    def compare(self, name: str, other: str) -> None:
        """Whether two studies, one of them never killed, drew the same values and found the same."""
        for one, two in zip(self.study(name).get_trials(), self.study(other).get_trials(), strict=False):
            folders = [self.folder / "runs" / each / f"trial-{one.number:04d}" for each in (name, other)]
            for key in load_folds(folders[1]) if "stopped_after" not in one.user_attrs else ():
                paths = [fold_file(folder, *key) for folder in folders]
                if not paths[0].exists() or paths[0].read_bytes() != paths[1].read_bytes():
                    self.wrong.append(f"{paths[0]} and {paths[1]} differ")
            if (one.params, one.values) != (two.params, two.values):
                self.wrong.append(f"trial {one.number} has {one.values} in {name} and {two.values} in {other}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, what in {
        "driver": "kills of searches' drivers",
        "confirm": "kills of confirmations",
        "worker": "kills of processes that train",
        "ray-worker": "the same on a Ray cluster",
        "ray-node": "kills of its nodes",
    }.items():
        parser.add_argument(f"--{name}", type=int, default=0, help=what)
    parser.add_argument("--trials", type=int, default=12, help="trials of each study")
    parser.add_argument("--seeds", type=int, default=60, help="seeds of each confirmation")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with TemporaryDirectory() as root:
        luck = random.Random(asked.seed)
        campaign, began = Campaign(Path(root), luck), time.monotonic()
        campaign.search("untouched", asked.trials, 0)
        print(f"a study of {asked.trials} trials, not killed: {time.monotonic() - began:.0f} s", flush=True)

        def studies(title: str, kills: int, kill=None, apart: int = 0) -> None:
            first, count, lost, start = campaign.kills, 0, campaign.lost, time.monotonic()
            while (left := kills - (campaign.kills - first)) > 0:
                name, count = f"{title.replace(' ', '-')}-{count}", count + 1
                if kill is None:
                    campaign.search(name, asked.trials, left)
                else:
                    campaign.search_through(name, asked.trials, left, kill, apart)
                campaign.compare(name, "untouched")
            if kills:
                print(
                    f"{title}: {campaign.kills - first} kills of {count} studies, {campaign.lost - lost} folds in "
                    f"training lost, {time.monotonic() - start:.0f} s; wrong: {campaign.wrong or 'nothing'}",
                    flush=True,
                )

        studies("driver", asked.driver)
        studies("worker", asked.worker, campaign.kill_worker, 3)
        killed, lost = campaign.kills, campaign.lost
        whole = [trial.number for trial in ranked_trials(campaign.study("untouched"))]
        while (left := asked.confirm - campaign.kills + killed) > 0:
            campaign.confirm("untouched", whole.pop(), asked.trials, asked.seeds, left)
        print(
            f"confirmation: {campaign.kills - killed} kills, {campaign.lost - lost} folds in training lost", flush=True
        )
        if asked.ray_worker or asked.ray_node:
            cluster = campaign.cluster = Cluster(luck)
            studies("Ray worker", asked.ray_worker, campaign.kill_ray_worker, 6)
            studies("Ray node", asked.ray_node, cluster.kill_node, 24)
            cluster.cluster.shutdown()
        print(f"{campaign.kills} kills in {time.monotonic() - began:.0f} s")
        print("\n".join(campaign.wrong) or "nothing was wrong")
        if campaign.wrong:
            print((Path(root) / "output.log").read_text()[-4000:])
    sys.exit(1 if campaign.wrong else 0)


if __name__ == "__main__":
    main()

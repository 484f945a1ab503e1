"""Small well-formed datasets, study files and command lines, damaged on purpose, and what becomes of them.

    PYTHONPATH=tests python benchmarks/mutants.py --count 400 --seed 0

makes so many, each in a process of its own with a time limit and a limit on memory, and prints a table and every
defect. A mutant must be refused, with exit code 1 or 2 and one line on stderr, or be used correctly: what is used of a
damaged dataset has the label and the frames that its undamaged cells and files give it, and what is not used is named.
Training is not part of it.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import pkgutil
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import cv2
import damage
import damage_files
import numpy as np
from click.testing import CliRunner
from small import STUDY

import mer_search
from mer_search import cli

CPU_SECONDS, SECONDS = 10, 120  # a mutant may take, of a processor and in all: a machine may have other work
MEMORY_DISK = Path("/dev/shm")  # noqa: S108 (unpredictable names within). A database makes a disk wait, and nothing here need be kept
MEMORY = 3 << 30  # bytes that it may take beyond what the process has at its start


class Case(NamedTuple):
    """A mutant, ready to be tried in its folder."""

    kind: str
    what: str  # was damaged
    commands: list[list[str]]
    data: damage.Damaged | None = None  # what may be used of a damaged dataset


class Seen(NamedTuple):
    """What a command used: clip -> its label and the names of its frames' files; and the clips that it named."""

    used: dict[str, damage.Fact]
    named: set[str]


class Outcome(NamedTuple):
    code: int
    message: str
    defect: str  # "" where there is none


def _without_training(stack: ExitStack, seen: list[Seen]) -> None:
    """Commands stop where they would train, measure or serve; what they would use is noted."""
    for found in pkgutil.walk_packages(mer_search.__path__, "mer_search."):
        importlib.import_module(found.name)  # one that is first imported later would keep what is put in place here
    from mer_search.bench import benchmark
    from mer_search.cli import search as searching
    from mer_search.confirmation import confirm
    from mer_search.data import check
    from mer_search.data.synthetic import dataset as synthetic
    from mer_search.engine import local
    from mer_search.report import costs, dashboard
    from mer_search.search import cost, study

    def searched(search: Any, *_: Any) -> tuple[()]:
        loaded = search.loaded
        assert np.isfinite(loaded.motion.flow).all()
        assert [loaded.run.data.classes[k] for k in loaded.labels] == [clip.label for clip in loaded.clips]
        seen.append(Seen(damage.facts(loaded.clips), {problem.clip for problem in loaded.problems}))
        return ()

    def checked(*arguments: Any) -> Any:
        report = real_check(*arguments)
        seen.append(Seen(damage.facts(report.clips), {problem.clip for problem in report.problems}))
        return report

    def stopped(*_: Any, **__: Any) -> None:
        raise SystemExit(0)  # it would train now

    def written(out: Path, *, height: int, width: int, seed: int, **_: Any) -> int:
        synthetic._check(height, width, seed, [1])
        return 0

    real_check = check.check_folder
    for where, name, instead in (
        (study, "run", searched), (check, "check_folder", checked), (searching, "warm_up", lambda *_: None),
        (cost, "search_cost", lambda *_: cost.NOTHING), (local, "machine_slots", lambda *_: (1, 1)),
        (confirm, "confirm_all", stopped), (benchmark, "measure", stopped),
        (costs, "print_speed", stopped), (synthetic, "write_dataset", written), (dashboard, "server", stopped),
    ):  # fmt: skip
        real = getattr(where, name)
        for module in [each for each in sys.modules.values() if vars(each).get(name) is real]:
            stack.enter_context(mock.patch.object(module, name, instead))


def attempt(case: Case, folder: Path) -> list[Outcome]:
    """Run a mutant's commands in its folder."""
    with ExitStack() as stack:
        seen: list[Seen] = []
        _without_training(stack, seen)
        stack.enter_context(mock.patch.dict(os.environ, XDG_CACHE_HOME=str(folder / "cache")))
        stack.callback(os.chdir, Path.cwd())
        os.chdir(folder)
        outcomes, beside = [], set(folder.parent.iterdir())
        for command in case.commands:
            seen.clear()
            result = CliRunner().invoke(cli.main, command)
            complaints = [line for line in result.stderr.splitlines() if line.lower().startswith("error:")]
            defect = _crash(result, complaints) or (_wrong(case.data, seen[-1]) if case.data and seen else "")
            if escaped := _escaped(folder, beside):
                defect = f"{escaped} was written"
            outcomes.append(Outcome(result.exit_code, next(iter(complaints), ""), defect))
        return outcomes


def _escaped(folder: Path, beside: set[Path]) -> str:
    """What a command wrote where nobody asked it to."""
    marks = {path.relative_to(folder).parts for path in folder.rglob("study.id")}
    wrong = [mark for mark in marks if len(mark) != 3]  # runs/NAME/study.id
    strange = sorted(path for path in folder.parent.iterdir() if path not in beside)
    return str((wrong + strange)[0]) if wrong + strange else ""


def _crash(result: Any, complaints: list[str]) -> str:
    """What a user must never see."""
    if result.exception and not isinstance(result.exception, SystemExit):
        last = traceback.extract_tb(result.exc_info[2])[-1]
        return f"traceback: {result.exception!r:.160} in {Path(last.filename).name}:{last.lineno}"
    if result.exit_code not in (0, 1, 2):
        return f"exit code {result.exit_code}"
    told = result.exit_code == 0 or complaints or "A run cannot use this" in result.stdout or '"usable": false' in (
        result.stdout
    )  # fmt: skip
    if not told or len(complaints) > 1:
        return f"exit code {result.exit_code} with {len(complaints)} messages"
    return "a traceback in the output" if "Traceback" in result.output else ""


def _wrong(data: damage.Damaged, seen: Seen) -> str:
    """What is used wrongly, or not used and not named."""
    for clip, fact in seen.used.items():
        allowed = [data.truth[clip]] if clip in data.truth else data.possible.get(clip, [])
        if fact not in allowed:
            return f"{clip} is used as {fact[0]} with {len(fact[1])} frames, which is not what the cells say"
    for clip in data.truth:
        named = clip in seen.named or any(
            name in (f"/{clip.split('/')[1]}", f"{clip.split('/')[0]}/") for name in seen.named
        )
        if clip not in seen.used and not named and clip not in data.gone:
            return f"{clip} is neither used nor named"
    return ""


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for mutants."""
    return tempfile.TemporaryDirectory(dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None)


def cases(count: int, seed: int, root: Path) -> list[tuple[Case, Path]]:
    """So many mutants, each in a folder of its own."""
    base = damage.write_bases(root / "bases")
    made = []
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        kind = list(KINDS)[number % len(KINDS)]
        folder = root / f"{number:04d}"
        folder.mkdir()
        made.append((KINDS[kind](rng, base, folder), folder))
    return made


COMMANDS = [["data", "check", "data", "--json"], ["run", "--study", "small.toml", "--data", "data"]]


def _data(kind: str, hurt: Callable[[random.Random, damage.Base, Path], damage.Damaged]) -> Any:
    def make(rng: random.Random, bases: Mapping[str, damage.Base], folder: Path) -> Case:
        name = rng.choice(damage.USED[kind])
        shutil.copytree(bases[name].folder, folder / "data", symlinks=True)
        (folder / "small.toml").write_text(STUDY if name == "flow" else damage.CLIPS_STUDY)
        done = hurt(rng, bases[name], folder / "data")
        return Case(kind, f"{name}: {done.what}", COMMANDS[: 1 if done.check_only else 2], done)

    return make


def _study(rng: random.Random, bases: Mapping[str, damage.Base], folder: Path) -> Case:
    name, content, what = damage_files.study(rng)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return Case("study file", what, [["run", "--study", name, "--data", str(bases["flow"].folder)]])


def _command(rng: random.Random, bases: Mapping[str, damage.Base], folder: Path) -> Case:
    (folder / "small.toml").write_text(STUDY)
    shutil.copytree(bases["flow"].folder, folder / "flow")
    command = damage_files.command(rng)
    return Case("command line", " ".join(command)[:100], [command])


KINDS: dict[str, Callable[[random.Random, Mapping[str, damage.Base], Path], Case]] = {
    "spreadsheet": _data("spreadsheet", damage.sheet),
    "image": _data("image", damage_files.image),
    "study file": _study,
    "folder": _data("folder", damage_files.folder),
    "command line": _command,
}


def _child(case: Case, folder: Path, pipe: Any) -> None:
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # decoders write there
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))  # a process begins with none
    os.environ["MER_SEARCH_DATA"] = "flow"
    pipe.send(attempt(case, folder))


def isolated(case: Case, folder: Path) -> list[Outcome]:
    """The same in a process of its own; a hang, or a death, is a defect."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(False)
    process = context.Process(target=_child, args=(case, folder, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(SECONDS):
            return [Outcome(-1, "", f"no answer within {SECONDS} s")]
        return list(ours.recv())
    except EOFError:
        process.join()
        return [Outcome(-1, "", f"the process died ({process.exitcode})")]
    finally:
        process.kill()
        process.join()


def main() -> None:
    cv2.setNumThreads(0)  # a process that has threads cannot be forked safely
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, nargs="*", help="these alone, as in the list of defects")
    parser.add_argument("--verbose", action="store_true")
    asked = parser.parse_args()
    table: Counter[tuple[str, str]] = Counter()
    began, defects = time.monotonic(), 0
    with scratch() as folder:
        made = cases(asked.count, asked.seed, Path(folder))
        with ExitStack() as stack:
            _without_training(stack, [])  # imports what the children need
        for number, (case, folder) in enumerate(made):
            if asked.only and number not in asked.only:
                continue
            outcomes = isolated(case, folder)
            wrong = next((outcome.defect for outcome in outcomes if outcome.defect), "")
            codes = max(outcome.code for outcome in outcomes)
            result = "defect" if wrong else "used" if codes == 0 else f"refused, exit code {codes}"
            table[case.kind, result] += 1
            defects += bool(wrong)
            if wrong or asked.verbose or asked.only:
                shown = wrong or next((outcome.message for outcome in outcomes if outcome.message), result)
                print(f"{number:4d} {case.kind}: {case.what!r:.110}\n     {shown}", flush=True)
    results = sorted({result for _, result in table})
    print(json.dumps({"mutants": sum(table.values()), "defects": defects, "seconds": round(time.monotonic() - began)}))
    print("| kind | " + " | ".join(results) + " |")
    for kind in KINDS:
        print(f"| {kind} | " + " | ".join(str(table[kind, result]) for result in results) + " |")
    sys.exit(defects > 0)


if __name__ == "__main__":
    main()

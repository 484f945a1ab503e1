"""Composites from clips: a folder with a sub-folder for each of CASME II, SAMM and SMIC, or for two; or with others.

Of these three it is MEGC 2019's, with others or another it is one of our own, by each database's task "3"; or by the
objective classes of those databases that have them, as MEGC 2018's composite of CASME II and SAMM.
The challenge's full set has 442 clips of 68 subjects: 88 negative, 32 positive and 25 surprise of CASME II, 92, 26 and
15 of SAMM, 70, 51 and 43 of SMIC. Each database's task "3" gives these. Where the organisers' own list lies in the
folder, `combined_3class_gt.csv` or as it is called in copies of it, it is what counts. Source: See et al., "MEGC 2019",
FG 2019.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mer_search.data.clips import Clip, Problem, with_landmarks
from mer_search.data.readers import casme2, casme3, dfme, mmew, samm, smic
from mer_search.data.readers.annotation import Layout, number, tables
from mer_search.data.readers.tables import read_table
from mer_search.data.tasks import OBJECTIVE, assign, plain
from mer_search.errors import DataError

NAME, MIXED = "composite", "mixed"  # MEGC 2019's, and any other
CLASSES = ("negative", "positive", "surprise")  # 0, 1, 2 in the list
TASKS = {"3": plain(*CLASSES), **OBJECTIVE}
LIST = "combined_3class_gt.csv"  # dataset, subject, clip, label
COPIES = r"combined_?3_?class.*\.csv"  # what its copies are called, in lower case
MODULES = (casme2, samm, smic, mmew, casme3, dfme)
LAYOUTS = {module.NAME: module.LAYOUT for module in MODULES}
TASKS_OF = {module.NAME: module.TASKS for module in MODULES}
MEGC = {casme2.NAME, samm.NAME, smic.NAME}


def parts(folder: Path) -> dict[str, list[Path]]:
    """The sub-folders that hold each database, of the folder or of the one folder in it that holds them all."""
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = {path: tables(path) for path in subfolders}
    found = {name: [path for path in subfolders if layout.sheets(files[path])] for name, layout in LAYOUTS.items()}
    found = {name: paths for name, paths in found.items() if paths}
    holding = {path for paths in found.values() for path in paths}
    return parts(holding.pop()) if len(found) > 1 and len(holding) == 1 else found


def mixed(folder: Path, files: Sequence[Path]) -> bool:
    """Whether the folder looks like a composite: two databases lie in sub-folders of their own."""
    found = parts(folder)
    return len(found) > 1 and len({path for paths in found.values() for path in paths}) > 1


def recognise(folder: Path, files: Sequence[Path]) -> bool:
    """Whether it looks like MEGC 2019's: all databases are its own, or its list says which clips count."""
    return mixed(folder, files) and (set(parts(folder)) <= MEGC or _listed(folder) is not None)


def source(folder: Path) -> str:
    """The spreadsheet of each database that is read."""
    return ", ".join(LAYOUTS[name].source(paths[0]) for name, paths in parts(folder).items())


def read(folder: Path, by: str = "emotion") -> tuple[list[Clip], list[Problem]]:
    """The clips of all databases, labelled with their class of task "3" or what else a task is by, and what is wrong
    with them.

    Raises:
        DataError: if a database is there twice, or one of them or the list cannot be read.
    """
    clips: list[Clip] = []
    problems: list[Problem] = []
    found = parts(folder)
    listed = _listed(folder)
    for name, paths in found.items():
        if len(paths) > 1:
            raise DataError(
                f"{folder} must hold {LAYOUTS[name].title} once, but it is in "
                f"{' and in '.join(path.name for path in paths)}; move all but one away"
            )
        if by != "emotion" and by not in LAYOUTS[name].optional:
            continue
        raw, wrong = LAYOUTS[name].read(paths[0], by)
        raw = [with_landmarks(clip, paths[0]) for clip in raw]
        if by != "emotion":
            some = raw
        elif listed is None:
            some, wrong = assign(raw, wrong, TASKS_OF[name], "3")
        else:
            some, wrong = _by_list(raw, wrong, LAYOUTS[name], [row[1:] for row in listed if row[0] == name])
        clips += some
        problems += wrong
    return clips, problems


def _listed(folder: Path) -> list[tuple[str, str, str, str]] | None:
    """The list's rows (database, subject, clip, label), without a row of titles; None if there is no list."""
    lists = [path for path in tables(folder) if re.fullmatch(COPIES, path.name.lower())]
    if not lists:
        return None
    if len(lists) > 1:
        raise DataError(
            f"{folder} must hold one list of the challenge's clips, but has "
            f"{' and '.join(path.name for path in lists)}; move all but one away"
        )
    path = lists[0]
    cells = [[cell.strip() for cell in row] for row in read_table(path)]
    rows = []
    for line, row in enumerate(cells, 1):
        name = _database(row[0]) if row else ""
        if len(row) >= 4 and name:
            rows.append((name, row[1], row[2], row[3]))
        elif any(row) and line > 1:
            raise DataError(f"line {line} of {path} must be dataset, subject, clip, label, but is {','.join(row)!r}")
    if not rows:
        raise DataError(f"{path} must have a line a clip, such as casme2,sub01,EP02_01f,1, but has none; remove it")
    return rows


def _database(cell: str) -> str:
    """casme2 for "CASME II" and the like; "" for what is none."""
    letters = re.sub(r"[^a-z]", "", cell.lower())
    return next((name for name in LAYOUTS if letters.startswith(name.rstrip("2"))), "")


def _by_list(
    raw: Sequence[Clip], wrong: Sequence[Problem], layout: Layout, rows: Sequence[tuple[str, str, str]]
) -> tuple[list[Clip], list[Problem]]:
    """One database's clips as its rows (subject, clip, label) have it, and the problems that concern them."""
    there = {layout.clip_key(clip.subject, clip.name): clip for clip in raw}
    about = [(layout.clip_key(*problem.clip.split("/", 1)), problem) for problem in wrong]
    keys = {layout.clip_key(subject, name) for subject, name, _ in rows}
    # The readers' emotions are not the task's here, so a problem is passed on without one.
    problems = [replace(problem, label="") for key, problem in about if key in keys]
    explained = {key for key, problem in about if not problem.usable}
    chosen = []
    for subject, name, label in rows:
        key, place = layout.clip_key(subject, name), number(label)
        if place is None or not 0 <= place < len(CLASSES):
            problems.append(Problem(f"{subject}/{name}", f"its label in {LIST} must be 0, 1 or 2, but is {label!r}"))
        elif key in there:
            chosen.append(replace(there.pop(key), label=CLASSES[place]))
        elif key not in explained:
            problems.append(Problem(f"{subject}/{name}", f"{LIST} has it, but the {layout.title} clips do not"))
    return chosen, problems

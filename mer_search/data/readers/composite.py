"""Composites from clips: a folder with a sub-folder for each of CASME II, SAMM and SMIC, or for two; or with others.

Of these three it is MEGC 2019's, with others or another it is one of our own, by each database's task "3", which gives
the challenge's 442 clips of 68 subjects; or by the objective classes of those databases that have them, as MEGC 2018's
composite of CASME II and SAMM. Where the organisers' own list lies in the folder, `combined_3class_gt.csv` or a copy of
it, it is what counts. Source: See et al., "MEGC 2019", FG 2019.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mer_search.data.clips import Clip, Problem, with_landmarks
from mer_search.data.dataset import OBJECTIVE, THREE, Content, Dataset, plain
from mer_search.data.readers.annotation import Layout, number, tables
from mer_search.data.readers.layouts import LAYOUTS
from mer_search.data.readers.tables import read_table
from mer_search.errors import DataError

LIST = "combined_3class_gt.csv"  # dataset, subject, clip, label
COPIES = r"combined_?3_?class.*\.csv"  # what its copies are called, in lower case
MEGC = {"casme2", "samm", "smic"}


@dataclass(frozen=True, kw_only=True)
class Composite(Dataset):
    """Several databases side by side."""

    def recognise(self, folder: Path, files: Sequence[Path]) -> bool:
        """Whether databases lie in sub-folders of their own; for MEGC 2019's, whether all are its own, or its list says
        which clips count."""
        found = parts(folder)
        several = len(found) > 1 and len({path for paths in found.values() for path in paths}) > 1
        return several and (self is MIXED or set(found) <= MEGC or _listed(folder) is not None)

    def source(self, folder: Path) -> str:
        return ", ".join(LAYOUTS[name].source(paths[0]) for name, paths in parts(folder).items())

    def read(self, folder: Path, task: str) -> Content:
        clips: list[Clip] = []
        problems: list[Problem] = []
        outside: Counter[str] = Counter()
        listed = _listed(folder)
        for name, paths in parts(folder).items():
            layout = LAYOUTS[name]
            if len(paths) > 1:
                raise DataError(
                    f"{folder} must hold {layout.title} once, but it is in "
                    f"{' and in '.join(path.name for path in paths)}; move all but one away"
                )
            if task not in layout.tasks:
                continue
            if task in OBJECTIVE or listed is None:
                some, wrong, others = layout.read(paths[0], task)
                outside.update(others if task in OBJECTIVE else {})
            else:
                raw, wrong, _ = layout.read(paths[0])
                some, wrong = _by_list(raw, wrong, layout, [row[1:] for row in listed if row[0] == name])
            clips += some
            problems += wrong
        return [with_landmarks(clip, folder) for clip in clips], problems, outside


TASKS = {"3": plain(*THREE), **OBJECTIVE}
COMPOSITE = Composite(name="composite", title="MEGC 2019 composite", tasks=TASKS)
MIXED = Composite(name="mixed", title="composite of several datasets", tasks=TASKS)


def parts(folder: Path) -> dict[str, list[Path]]:
    """The sub-folders that hold each database, of the folder or of the one folder in it that holds them all."""
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = {path: tables(path) for path in subfolders}
    found = {name: [path for path in subfolders if layout.sheets(files[path])] for name, layout in LAYOUTS.items()}
    found = {name: paths for name, paths in found.items() if paths}
    holding = {path for paths in found.values() for path in paths}
    return parts(holding.pop()) if len(found) > 1 and len(holding) == 1 else found


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
    rows = []
    for line, cells in enumerate(read_table(lists[0]), 1):
        row = [cell.strip() for cell in cells]
        letters = re.sub(r"[^a-z]", "", "".join(row[:1]).lower())  # "CASME II" and the like are casme2
        name = next((name for name in LAYOUTS if letters.startswith(name.rstrip("2"))), "")
        if len(row) >= 4 and name:
            rows.append((name, row[1], row[2], row[3]))
        elif any(row) and line > 1:
            raise DataError(
                f"line {line} of {lists[0]} must be dataset, subject, clip, label, but is {','.join(row)!r}"
            )
    if not rows:
        raise DataError(f"{lists[0]} must have a line a clip, such as casme2,sub01,EP02_01f,1, but has none; remove it")
    return rows


def _by_list(
    raw: Sequence[Clip], wrong: Sequence[Problem], layout: Layout, rows: Sequence[tuple[str, str, str]]
) -> tuple[list[Clip], list[Problem]]:
    """One database's clips as its rows (subject, clip, label) have it, and the problems that concern them."""
    there = {layout.clip_key(clip.subject, clip.name): clip for clip in raw}
    about = [(layout.clip_key(*problem.clip.split("/", 1)), problem) for problem in wrong]
    keys = {layout.clip_key(subject, name) for subject, name, _ in rows}
    problems = [problem for key, problem in about if key in keys]
    explained = {key for key, problem in about if not problem.usable}
    chosen = []
    for subject, name, label in rows:
        key, place = layout.clip_key(subject, name), number(label)
        named = f"{key[0]}/{name}"
        if place is None or place >= len(THREE):
            problems.append(Problem(named, f"its label in {LIST} must be 0, 1 or 2, but is {label!r}"))
        elif key in there:
            chosen.append(replace(there.pop(key), label=THREE[place]))
        elif key not in explained:
            problems.append(Problem(named, f"{LIST} has it, but the {layout.title} clips do not"))
    return chosen, problems

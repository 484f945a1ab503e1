"""How things are printed: consoles, sentences, tables, bars, numbers."""

import math
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import rich.table
from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from mer_search.engine.stop import check, polling
from mer_search.report.document import Table, decimals

# Names and paths may look like markup, which is off. Lines are never wrapped here, so that a path or a command can be
# copied; tables are.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)  # results
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)  # progress and warnings
LINES_APART = 1.0  # seconds between two lines of a progress, where there is no bar
SILENT = 1.5  # seconds after which what has begun is told, where there is no bar
WHOLE_RUN = 1e9  # seconds over which speed is estimated for the time left: all that have passed; rich's own are 30


def show(table: Table) -> None:
    """Print a table to the console's width; the widest columns are wrapped between words."""
    out.print(drawn(table), soft_wrap=False)


def drawn(table: Table) -> RenderableType:
    """A table as rich draws it."""
    grid = rich.table.Table(
        title=table.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for place, column in enumerate(table.head):
        grid.add_column(column, justify="left" if place < table.left else "right", overflow="fold")
    for number, cells in enumerate(table.cells):
        grid.add_row(*cells, style="bold" if number == table.strong else None)
    return Group(grid, Text(table.caption, "table.caption")) if table.caption else grid


def say(text: str) -> None:
    """Print a sentence, wrapped between words."""
    out.print(text, soft_wrap=False)


def note(line: str) -> None:
    """A sentence beside the results, wrapped between words."""
    err.print(line, soft_wrap=False)


def new_bars(description: str, width: int = 40) -> Progress:
    """Bars on the terminal, which are gone in the end: what is done, how much of how much, the time left."""
    columns = (TextColumn(description, markup=False), BarColumn(width), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = not err.is_terminal
    return Progress(*columns, console=err, transient=True, disable=hidden, speed_estimate_period=WHOLE_RUN)


class Bars:
    """A progress bar for each thing that is done: call it with (what, done, total), which also stops the command if it
    is to stop. Where the output is no terminal, a line for what has begun and is not done soon, and for slow tenths."""

    def __init__(self) -> None:
        self.progress = new_bars("{task.description}")
        self.tasks: dict[str, TaskID] = {}
        self.told: dict[str, tuple[int, float]] = {}  # the tenth that was told last, and when
        self.begun = threading.Timer(0, lambda: None)  # tells what was begun last

    def __call__(self, what: str, done: int, total: int) -> None:
        check()
        tenth, now = 10 * done // max(total, 1), time.monotonic()
        if what not in self.tasks:
            self.tasks[what], self.told[what] = self.progress.add_task(what, total=total), (0, now)
            self.begun.cancel()
            if not err.is_terminal:
                self.begun = threading.Timer(SILENT, note, [f"{what} ..."])
                self.begun.daemon = True
                self.begun.start()
        self.progress.update(self.tasks[what], completed=done, total=total)
        before, when = self.told[what]
        late = now - when >= LINES_APART or (before and done == total)
        tell = not err.is_terminal and tenth != before and late
        if tell or done == total:
            self.begun.cancel()
        if tell:
            self.told[what] = tenth, now
            note(f"{what}: {done} of {total}")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is drawn within, so that a question can be asked."""
        self.progress.stop()
        yield
        self.progress.start()


@contextmanager
def bars() -> Iterator[Bars]:
    """Progress bars, which are gone in the end."""
    shown = Bars()
    try:
        with shown.progress:
            yield shown
    finally:
        shown.begun.cancel()


@contextmanager
def working() -> Iterator[Bars]:
    """The same, for work that asks by them whether it is to stop, and is interrupted nowhere else."""
    with polling(), bars() as progress:
        yield progress


UNITS = ((100, 1, "s", 0), (5400, 60, "min", 1), (48 * 3600, 3600, "h", 1), (math.inf, 86400, "days", 1))


def duration(seconds: float) -> str:
    """A time as a person says it: "45 s", "3.2 min", "1.5 h", "48.8 days"."""
    _, unit, name, digits = next(row for row in UNITS if seconds < row[0])
    return f"{seconds / unit:.{digits}f} {name}"


def operations(flop: float) -> str:
    """A number of floating-point operations as a person says it: "8.7 TFLOP", "39 PFLOP"."""
    power = max(0, min(4, int(math.log10(max(flop, 1))) // 3 - 2))  # 0 where all folds are on disk
    return f"{flop / 1000 ** (power + 2):.3g} {'MGTPE'[power]}FLOP"


def plural(count: int, noun: str) -> str:
    """ "1 slot", "2 slots"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def not_counted(classes: Iterable[str]) -> str:
    """Which classes UF1 and UAR are without, in a sentence; "" of none."""
    names = ", ".join(classes)
    return f"Not counted, for no clip is of it: {names}." if names else ""


def cut(microbatches: int) -> str:
    """ ", batches cut into 4, to fit"; "" where they are whole."""
    return f", batches cut into {microbatches}, to fit" if microbatches > 1 else ""


def p_value(p: float) -> str:
    """Three decimals, or that it is smaller."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval(ends: Sequence[float] | None) -> str:
    """ "0.475-0.677"; None is one that cannot be estimated."""
    return "not estimable" if ends is None else "-".join(map(decimals, ends))

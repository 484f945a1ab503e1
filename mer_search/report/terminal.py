"""How things are printed: consoles, sentences, tables, bars, numbers."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import rich.table
from rich import box
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mer_search.engine.stop import check
from mer_search.report.document import Table

# Names and paths may look like markup, which is off. Lines are never wrapped here, so that a path or a command can be
# copied; tables are.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)  # results
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)  # progress and warnings


def show(table: Table) -> None:
    """Print a table to the console's width; the widest columns are wrapped between words."""
    out.print(drawn(table), soft_wrap=False)


def drawn(table: Table) -> RenderableType:
    """A table as rich draws it."""
    grid = rich.table.Table(
        title=table.title,
        caption=table.caption,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for place, column in enumerate(table.head):
        grid.add_column(column, justify="left" if place < table.left else "right", overflow="fold")
    for number, cells in enumerate(table.rows):
        grid.add_row(*cells, style="bold" if number == table.strong else None)
    return grid


def say(text: str) -> None:
    """Print a sentence, wrapped between words."""
    out.print(text, soft_wrap=False)


def note(line: str) -> None:
    """A sentence beside the results, wrapped between words."""
    err.print(line, soft_wrap=False)


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for each thing that is being done: call it with (what, done, total), also to see whether the
    command is to stop.

    Where the output is no terminal, a line at every tenth.
    """
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    ) as progress:
        tasks: dict[str, TaskID] = {}
        before: dict[str, int] = {}

        def show(what: str, done: int, total: int) -> None:
            check()
            if not err.is_terminal and total and 10 * done // total > 10 * before.get(what, 0) // total:
                note(f"{what}: {done} of {total}")
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)
            before[what] = done

        yield show


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


def plural(count: int, noun: str) -> str:
    """ "1 slot", "2 slots"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def decimals(score: float | None) -> str:
    """Three decimals; nothing for None."""
    return "" if score is None else f"{score:.3f}"


def p_value(p: float) -> str:
    """Three decimals, or that it is smaller."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def interval(ends: Sequence[float] | None) -> str:
    """ "0.475-0.677"; None is one that cannot be estimated."""
    return "not estimable" if ends is None else "-".join(map(decimals, ends))

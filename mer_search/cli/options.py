"""What the commands share: how an error is shown, and options that mean the same everywhere."""

import gc
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from mer_search.errors import MerSearchError, UsageError
from mer_search.files import tree_of
from mer_search.processes import exit_code, stoppable

STORAGE = "sqlite:///mer-search.db"
OBJECTS = 50_000  # made before garbage is looked for; at Python's 700, reading a long study takes twice the time


class Commands(click.Group):
    """A group whose commands' errors become one line and the exit code of their class."""

    def invoke(self, ctx: click.Context) -> Any:
        gc.set_threshold(OBJECTS)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a path may hold bytes that are no text
                stream.reconfigure(errors="backslashreplace")
        try:
            with stoppable():
                return super().invoke(ctx)
        except MerSearchError as error:
            click.secho(f"error: {error}", fg="red", err=True)
            ctx.exit(error.exit_code)
        except OSError as error:  # a folder that may not be written, a full disk, too long a name
            where = f": {error.filename}" if error.filename else ""
            click.secho(f"error: {error.strerror or error}{where}", fg="red", err=True)
            ctx.exit(1)
        except KeyboardInterrupt as stop:
            click.echo("\nstopped; the same command goes on from here", err=True)
            ctx.exit(exit_code(stop))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """click's own message for an unknown command lacks what there is."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise UsageError(
                f"a command must be one of {', '.join(self.list_commands(ctx))}, but got {args[0]!r}"
            ) from None


def example(text: str) -> str:
    """The epilog that shows how a command is called."""
    return f"\b\nExample:\n  {text}"


storage_option = click.option(
    "--storage", envvar="MER_SEARCH_STORAGE", default=STORAGE, show_default=True, help="URL, or MER_SEARCH_STORAGE."
)
name_option = click.option("--name", help="Study name.  [default: the study made last]")
data_option = click.option(
    "--data", type=click.Path(path_type=Path), help="Dataset folder.  [default: MER_SEARCH_DATA, else synthetic clips]"
)
device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
subjects_option = click.option(
    "--subjects",
    default="all",
    show_default=True,
    help="all, hardest, hardest_7, 1-4, [1,2], 7, names or a database.",
)
seeds_option = click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="How many fresh seeds."
)
task_option = click.option(
    "--task", default="", help="How many classes are told apart, such as 3.  [default: the dataset's first task]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else there.")
out_option = click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder for results."
)


workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes side by side, one a GPU; without a PostgreSQL --storage, one in --out is started.",
)


def shared_storage(storage: str, workers: int, out: Path) -> str:
    """The storage through which workers share: the one given, or, if that has one writer only, an embedded one."""
    from mer_search.search.storage import is_shared

    return f"embedded:{out / 'postgres'}" if workers > 1 and not is_shared(storage) else storage


set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A value at a dotted path of the configuration, such as train.epochs=20; may be repeated.",
)


def values_of(settings: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE as dotted paths and values: numbers and true or false as in a study file, else text.

    Raises:
        UsageError: for one without "=".
    """
    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set must be KEY=VALUE, such as train.epochs=20, but got {setting!r}")
        try:
            values[key.strip()] = tree_of(f"value = {text}")["value"]
        except UsageError:
            values[key.strip()] = text.strip()
    return values

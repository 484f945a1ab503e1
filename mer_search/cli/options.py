"""What the commands share: their group, how an error is shown, and options that mean the same everywhere."""

import gc
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mer_search.engine.stop import exit_code, say, stoppable
from mer_search.errors import MerSearchError, UsageError
from mer_search.files import RANGES, RUNS, STORAGE, disk, tree_of

if TYPE_CHECKING:
    import optuna

    from mer_search.confirmation.confirm import Announce
    from mer_search.engine.where import Where
    from mer_search.report.terminal import Bars

DAY = 24 * 3600  # seconds; before what takes longer, there is a question
OBJECTS = 50_000  # made before garbage is looked for; at Python's 700, reading a long study takes twice the time
PATH = click.Path(path_type=Path)


class Refused(click.ClickException):
    """One line that says what is wrong, for click's errors and ours."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click reads it of the instance

    def show(self, file: Any = None) -> None:
        from rich.console import Console  # heeds NO_COLOR

        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {self.message}", style="red", markup=False)


@contextmanager
def _refusals() -> Iterator[None]:
    """Every error as one line, with the exit code of its class."""
    try:
        yield
    except MerSearchError as error:
        raise Refused(str(error), error.exit_code) from error
    except ImportError as error:
        if "cv2" not in f"{error.path}" or ".so" not in error.msg:
            raise
        raise Refused(
            f"opencv-python needs {error.msg.partition(':')[0]}, which this machine lacks; `apt install libgl1 "
            "libglib2.0-0` brings it, or `pip uninstall opencv-python` and `pip install opencv-python-headless` need "
            "it no more",
            1,
        ) from error
    except OSError as error:  # too long a name, and what else a system refuses
        where = f": {error.filename}" if error.filename else ""
        raise Refused(f"{error.strerror or error}{where}", 1) from error
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "mer-search"
        message = error.format_message().rstrip(".")
        raise Refused(f"{message}; `{command} --help` lists what it takes", error.exit_code) from error


class Commands(click.Group):
    """A group of commands that can be stopped, and whose errors are one line."""

    def make_context(self, *args: Any, **others: Any) -> click.Context:
        with _refusals():
            return super().make_context(*args, **others)

    def invoke(self, ctx: click.Context) -> Any:
        gc.set_threshold(OBJECTS)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a path may hold bytes that are no text
                stream.reconfigure(errors="backslashreplace")
        try:
            with nullcontext() if ctx.parent else _loading(), stoppable(), _refusals(), _explained():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            say(partial(click.echo, err=True))
            ctx.exit(exit_code(stop))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command with its whole first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(200)) for name, each in sorted(self.commands.items())])


@contextmanager
def _loading() -> Iterator[None]:
    """Say that libraries are being loaded, where that takes longer than a second."""

    def tell() -> None:
        if _is_importing():
            click.echo("loading PyTorch and OpenCV", err=True)

    notice = threading.Timer(1.0, tell)
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()


def _is_importing() -> bool:
    """Whether the main thread is in an import statement."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


@contextmanager
def _explained() -> Iterator[None]:
    """What a disk or a database refuses, wherever a command is, as errors of ours."""
    try:
        with disk():
            yield
    except Exception:
        if "optuna" not in sys.modules:
            raise
        from mer_search.search.storage import reachable

        with reachable():
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="mer-search")
def main() -> None:
    """Find networks for micro-expression recognition, and say honestly how good they are.

    \b
    Start:   mer-search run                  search, on synthetic clips if --data is not given
             mer-search confirm              the best trial, on all subjects, with fresh seeds
             mer-search report               what was found, as a page
             mer-search dashboard            look at the study
    """


def example(text: str) -> str:
    """The epilog that shows how a command is called."""
    return f"\b\nExample:\n  {text}"


def study_name(default: str) -> Callable[[Any], Any]:
    """`--study-name`, as Optuna calls it."""
    return click.option("--study-name", "name", help=f"Study name in the storage.  [default: {default}]")


OPTIONS: dict[str, Callable[[Any], Any]] = {  # that mean the same wherever they stand, by Given's names
    "data": click.option("--data", type=PATH, help="Dataset folder.  [default: MER_SEARCH_DATA, else synthetic clips]"),
    "task": click.option(
        "--task",
        default="",
        help="How many classes are told apart, such as 3.  [default: as the study has it, else the dataset's first]",
    ),
    "leave_out": click.option(
        "--leave-out",
        type=click.Choice(["subject", "database"]),
        help="What a fold tests and "
        "never trains on: a subject, or a whole database of a composite.  [default: as the study "
        "has it, else subject]",
    ),
    "subjects": click.option(
        "--subjects",
        default="all",
        show_default=True,
        help="all, hardest, hardest_7, stratified_7, 1-4, [1,2], 7, names or a database.",
    ),
    "seeds": click.option(
        "--seeds", type=click.IntRange(*RANGES["seeds"]), default=3, show_default=True, help="How many fresh seeds."
    ),
    "settings": click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="A value at a dotted path of the configuration, such as train.epochs=20; may be repeated.",
    ),
    "recipe": click.option(
        "--as-published",
        "recipe",
        flag_value="published",
        default="",
        help="Presets as their "
        "public code has them, instead of in this tool's recipe; docs/parity.md says what differs.",
    ),
    "trial": click.option(
        "--trial", type=click.IntRange(min=0), help="A confirmed trial.  [default: the one that the search puts first]"
    ),
    "folder": click.option(
        "--folder",
        type=PATH,
        help="A confirmation's folder instead of a trial, such as "
        "runs/presets/confirm/V4-58dbfcdf; with --data, where its clips are.",
    ),
    "storage": click.option(
        "--storage", envvar="MER_SEARCH_STORAGE", default=STORAGE, show_default=True, help="URL, or MER_SEARCH_STORAGE."
    ),
    "name": study_name("the study made last"),
    "device": click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    "executor": click.option(
        "--executor",
        default="local",
        show_default=True,
        help="Where folds are trained: local, "
        "ray (a cluster that this machine is in, else one of its own) or ray://HOST:10001.",
    ),
    "slots": click.option(
        "--slots",
        type=click.IntRange(*RANGES["slots"]),
        help="Folds that are trained at once.  [default: one a GPU, or a core for small networks; a search: as before]",
    ),
    "out": click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=RUNS,
        show_default=True,
        help="Folder for results.",
    ),
    "yes": click.option("--yes", is_flag=True, help="Start what takes longer than a day without a question."),
    "as_json": click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, nothing else there."),
}


@dataclass(frozen=True)
class Given:
    """What was given for those of OPTIONS that a command has; of the others what they mean if nothing is."""

    data: Path | None = None
    task: str = ""
    leave_out: str | None = None
    subjects: str = "all"
    seeds: int = 3
    settings: tuple[str, ...] = ()
    recipe: str = ""
    trial: int | None = None
    folder: Path | None = None
    storage: str = STORAGE
    name: str | None = None
    device: str = "auto"
    executor: str = "local"
    slots: int | None = None
    out: Path = RUNS
    yes: bool = False
    as_json: bool = False

    @property
    def values(self) -> dict[str, Any]:
        """--set KEY=VALUE as dotted paths and values: numbers and true or false as in a study file, else text."""
        from mer_search.config import check_settable

        values = {}
        for setting in self.settings:
            key, equals, text = setting.partition("=")
            if not equals:
                raise UsageError(f"--set must be KEY=VALUE, such as train.epochs=20, but got {setting!r}")
            try:
                (values[key.strip()],) = tree_of(f"value = {text}").values()
            except (UsageError, ValueError):  # the latter of several lines
                values[key.strip()] = text.strip()
        check_settable(values)
        return values

    @property
    def folds(self) -> dict[str, Any]:
        """--task and --leave-out, as far as they were given, as dotted paths and values."""
        given = {"data.task": self.task, "data.leave_out": self.leave_out}
        return {key: value for key, value in given.items() if value}

    @property
    def where(self) -> "Where":
        """--executor, --device and --slots."""
        from mer_search.engine.local import choose_device
        from mer_search.engine.where import Where

        return Where(self.executor, choose_device(self.device, self.executor), self.slots)

    def study(self) -> "optuna.Study":
        """--storage and --study-name. A wrong name fails before PyTorch is loaded."""
        from mer_search.search.storage import find_study, open_storage

        return find_study(open_storage(self.storage), self.name)

    def announcing(self, progress: "Bars") -> "Announce":
        """What tells the cost of confirmations, and asks before what takes longer than a day."""
        from mer_search.report.costs import print_costs

        def announce(jobs: Any, costs: Any, side_by_side: int) -> None:
            print_costs(jobs, costs, side_by_side)
            self.allow(sum(cost.seconds for cost in costs), progress)

        return announce

    def allow(self, seconds: float, progress: "Bars") -> None:
        """Ask before what takes longer than a day, where there is somebody to ask; a no ends the command."""
        from mer_search.report.terminal import duration

        if self.yes or seconds <= DAY:
            return
        takes, less = duration(seconds), "a GPU, smaller networks, fewer subjects, trials or seeds take less"
        if not _can_ask():
            raise UsageError(f"what takes longer than a day needs --yes, and this takes about {takes}; {less}")
        with progress.paused():
            click.confirm(f"This takes about {takes} ({less}). Start it?", abort=True, err=True)

    def tell(self, facts: object, show: Callable[[], object]) -> None:
        """One JSON document with --json, else what `show` prints."""
        if self.as_json:
            click.echo(json.dumps(facts, indent=1))
        else:
            show()


def options(names: str) -> Callable[[Any], Any]:
    """The options of these names, of OPTIONS, in this order: "data task". The command gets them as one Given."""

    def add(command: Any) -> Any:
        @wraps(command)
        def call(*arguments: Any, **others: Any) -> Any:
            found = {name: others.pop(name) for name in names.split()}
            return command(*arguments, given=replace(others.pop("given", Given()), **found), **others)

        for name in reversed(names.split()):
            call = OPTIONS[name](call)
        return call

    return add


def _can_ask() -> bool:
    return sys.stdin.isatty()

"""Commands about study files."""

from itertools import takewhile
from pathlib import Path

import click

from mer_search.cli.options import Commands, example
from mer_search.errors import UsageError
from mer_search.files import shipped, toml_names, toml_text, write_whole


@click.group(cls=Commands)
def study() -> None:
    """Look at the studies that come with this tool, or begin one of your own."""


@study.command(epilog=example("mer-search study show demo"))
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """The text of a study, which comes with this tool under NAME or is a file; without NAME, which there are."""
    if name:
        click.echo(toml_text("study", shipped(), name).rstrip())
        return
    for each in toml_names(shipped()):
        click.echo(f"{each:14}{_told(toml_text('study', shipped(), each))}")


def _told(text: str) -> str:
    """What a study's first lines say of it."""
    lines = [line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), text.splitlines())]
    return " ".join(lines)


@study.command(epilog=example("mer-search study new mine.toml --from megc2019"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "source", default="default", show_default=True, help="The study that is copied, or its file.")
def new(file: Path, source: str) -> None:
    """Write a study into FILE, to change: `mer-search run --study FILE` runs it. docs/study-file.md says what it may
    hold."""
    if file.exists():
        raise UsageError(f"{file} must be a new file, but is there; give another name")
    if file.suffix != ".toml":
        raise UsageError(f"{file} must end in .toml, as a study file does")
    text = toml_text("study", shipped(), source)
    write_whole(file, text)
    click.echo(f"{file}: a copy of {source}. {_told(text)}\nnext: mer-search run --study {file} --data FOLDER")

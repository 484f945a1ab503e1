"""Commands about the subjects of a dataset."""

import json
from pathlib import Path

import click

from mer_search.cli.options import Commands, example, options


@click.group(cls=Commands)
def subjects() -> None:
    """Which subjects are hard."""


@subjects.command(epilog=example("mer-search subjects rank runs/demo/confirm/trial-7"))
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@options("storage study-name json")
def rank(folder: Path | None, storage: str, name: str | None, as_json: bool) -> None:
    """Subjects by how hard they were in a confirmation, and the hardest ten as a line for a study file. FOLDER is a
    confirmation's; without it the study's best one is taken."""
    from mer_search.confirmation.difficulty import rank, study_line
    from mer_search.confirmation.folders import confirmation
    from mer_search.report import terminal
    from mer_search.report.summaries import subjects_table
    from mer_search.search.storage import find_study, open_storage

    folder = folder or confirmation(find_study(open_storage(storage), name), None)
    rows = rank(folder)
    if as_json:
        click.echo(json.dumps([row._asdict() for row in rows], indent=1))
        return
    terminal.show(subjects_table(rows, f"{folder}: the hardest first"))
    terminal.out.print(study_line(rows))

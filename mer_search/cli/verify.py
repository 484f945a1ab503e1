"""The command that computes again what is stored."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mer_search.cli.options import Given, example, options, print_json
from mer_search.errors import UsageError

if TYPE_CHECKING:
    import optuna

    from mer_search.confirmation.verify import Checked


@click.command(epilog=example("mer-search verify runs/demo/confirm/trial-7"))
@click.argument("folder", metavar="[RUN]", type=click.Path(path_type=Path), required=False)
@options("storage name as_json")
@click.pass_context
def verify(ctx: click.Context, given: Given, folder: Path | None) -> None:
    """Compute again, from predictions, what is stored: trials' values, a confirmation's figures. Exit code 1 if
    something differs.

    RUN is the folder of a study, of one of its trials or of a confirmation.  [default: the study made last]
    """
    checked = _look(given, folder)
    if given.as_json:
        print_json({"checked": checked.what, "differences": checked.differences})
    else:
        for line in checked.what:
            click.echo(line)
        for line in checked.differences:
            click.secho(line, fg="red", err=True)
        click.echo(f"{len(checked.differences) or 'no'} difference{'s' if len(checked.differences) != 1 else ''}")
    ctx.exit(1 if checked.differences else 0)


def _look(given: Given, folder: Path | None) -> "Checked":
    from mer_search.confirmation.verify import verify_confirmation, verify_study, verify_trial

    if folder is None:
        return verify_study(given.study())
    if (folder / "summary.json").exists():
        return verify_confirmation(folder)
    if (folder / "study.id").exists():
        return verify_study(_study_of(folder, given.storage))
    number = re.fullmatch(r"trial-(\d+)", folder.resolve().name)
    if number and (folder.parent / "study.id").exists():
        return verify_trial(_study_of(folder.parent, given.storage), int(number[1]))
    raise UsageError(
        f"verify needs the folder of a study, of a trial or of a finished confirmation, such as runs/demo/trial-0007, "
        f"but {folder} is none"
    )


def _study_of(folder: Path, storage: str) -> "optuna.Study":
    import optuna

    from mer_search.search.resume import mark_of
    from mer_search.search.storage import open_storage

    opened, mark = open_storage(storage), mark_of(folder)
    for each in opened.get_all_studies():
        if each.user_attrs.get("mark") == mark:
            return optuna.load_study(study_name=each.study_name, storage=opened)
    raise UsageError(f"{storage} must hold the study of {folder}, but does not; give its --storage")

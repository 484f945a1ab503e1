"""Commands that compute figures from stored predictions."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mer_search.cli.options import PATH, Commands, Given, example, main, options
from mer_search.errors import UsageError

if TYPE_CHECKING:
    from mer_search.confirmation.verify import Checked


@main.command(epilog=example("mer-search score theirs.csv runs/demo/confirm/trial-7/megc_log.txt"))
@click.argument("file", type=PATH)
@click.argument("second", metavar="[FILE2]", type=PATH, required=False)
@options("as_json")
def score(given: Given, file: Path, second: Path | None) -> None:
    """Score a log of predictions, whichever method it is of; two are compared in pairs on the clips they share.

    FILE is a log in MEGC 2019's format, such as a confirmation's megc_log.txt, or a table (.csv, .xlsx) with the
    columns subject, clip, truth and prediction, and perhaps epoch, with a row for each clip and epoch.
    """
    from mer_search.confirmation import score as scoring
    from mer_search.evaluation.logs import read_log
    from mer_search.report.predictions import print_logs

    logs = [read_log(path) for path in (file, second) if path]
    scored = list(map(scoring.score, logs))
    compared = scoring.compare_logs(*logs) if second else None
    facts = {"logs": [each.model_dump() for each in scored], "comparison": compared and compared.model_dump()}
    given.tell(facts, lambda: print_logs(scored, compared))


@main.command(epilog=example("mer-search verify runs/demo/confirm/trial-7"))
@click.argument("folder", metavar="[RUN]", type=PATH, required=False)
@options("storage name as_json")
@click.pass_context
def verify(ctx: click.Context, given: Given, folder: Path | None) -> None:
    """Compute again, from predictions, what is stored: trials' values, a confirmation's figures. Exit code 1 if
    something differs.

    RUN is the folder of a study, of one of its trials or of a confirmation.  [default: the study made last]
    """
    checked = _checked(given, folder)

    def show() -> None:
        for line in checked.what:
            click.echo(line)
        for line in checked.differences:
            click.secho(line, fg="red", err=True)
        click.echo(f"{len(checked.differences) or 'no'} difference{'s' if len(checked.differences) != 1 else ''}")

    given.tell({"checked": checked.what, "differences": checked.differences}, show)
    ctx.exit(1 if checked.differences else 0)


def _checked(given: Given, folder: Path | None) -> "Checked":
    from mer_search.confirmation.verify import verify_confirmation, verify_study, verify_trial
    from mer_search.search.resume import mark_of
    from mer_search.search.storage import find_study, open_storage, results

    if folder is None:
        return verify_study(given.study())
    folder = folder.resolve()
    if (folder / "summary.json").exists():
        return verify_confirmation(folder)
    trial = None if mark_of(folder) else re.fullmatch(r"trial-(\d+)", folder.name)
    home = folder.parent if trial else folder
    if not (mark := mark_of(home)):
        raise UsageError(
            f"verify needs the folder of a study, of a trial or of a finished confirmation, such as "
            f"runs/demo/trial-0007, but {folder} is none"
        )
    opened = open_storage(given.storage)
    names = [each.study_name for each in opened.get_all_studies() if each.user_attrs.get("mark") == mark]
    if not names:
        raise UsageError(f"{given.storage} must hold the study of {home}, but does not; give its --storage")
    study = find_study(opened, names[0])
    if results(study).resolve() != home.resolve():
        raise UsageError(f"verify needs the folder of the study's results, {results(study)}, but {home} is another")
    return verify_trial(study, int(trial[1])) if trial else verify_study(study)


@main.group(cls=Commands)
def subjects() -> None:
    """Which subjects are hard."""


@subjects.command(epilog=example("mer-search subjects rank runs/demo/confirm/trial-7"))
@click.argument("folder", type=PATH, required=False)
@options("trial storage name as_json")
def rank(given: Given, folder: Path | None) -> None:
    """Subjects by how hard they were in a confirmation, and the hardest ten as a line for a study file. FOLDER is a
    confirmation's, instead of a trial's."""
    from mer_search.confirmation import difficulty
    from mer_search.confirmation.folders import confirmation
    from mer_search.confirmation.scoring import confirmed_folds
    from mer_search.report import terminal
    from mer_search.report.predictions import subjects_table

    if folder and (given.trial is not None or given.name):
        raise UsageError("FOLDER takes the place of --trial and --study-name; leave one of them out")
    if folder and not (folder / "summary.json").exists():
        raise UsageError(f"FOLDER must be a confirmation's, such as runs/demo/confirm/trial-7, but {folder} is none")
    folder = folder.resolve() if folder else confirmation(given.study(), given.trial)
    rows = difficulty.rank(confirmed_folds(folder).values())

    def show() -> None:
        terminal.show(subjects_table(rows, f"{folder}: the hardest first"))
        if len(rows) > difficulty.SUBJECTS_SHOWN:
            terminal.say(
                "The list was made from the others' confirmed predictions, too: in a study on it, their figures are "
                "not leak-free, though called so."
            )
        terminal.out.print(difficulty.study_line(rows))

    given.tell([row._asdict() for row in rows], show)

"""Commands that use what was confirmed: predict clips, write networks for other programs."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mer_search.cli.options import announcing, example, options
from mer_search.errors import UsageError

if TYPE_CHECKING:
    import optuna

    from mer_search.inference.predict import Confirmed
    from mer_search.search.workspace import Progress

trial_option = click.option(
    "--trial", type=click.IntRange(min=0), help="A confirmed trial.  [default: the best confirmed]"
)
folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="A confirmation's folder instead of a trial, such as runs/presets/confirm/V4-58dbfcdf; with --data, if its "
    "clips are not the synthetic ones.",
)
frame = click.IntRange(min=0)


@click.command(epilog=example("mer-search predict sub05/EP01_11 ~/clips/one ~/clips/two.avi --json"))
@click.argument("clips", metavar="CLIP...", nargs=-1, required=True)
@trial_option
@folder_option
@options("data")
@click.option("--subject", help="Who is in the clips, if in the study's data.  [default: as their ids and folders say]")
@click.option("--onset", type=frame, help="Frame number.  [default: as annotated, else the strongest motion found]")
@click.option("--apex", type=frame, help="The same.")
@click.option("--offset", type=frame, help="The same.")
@options("storage study-name device json")
def predict(
    clips: tuple[str, ...],
    trial: int | None,
    folder: Path | None,
    data: Path | None,
    subject: str | None,
    onset: int | None,
    apex: int | None,
    offset: int | None,
    storage: str,
    name: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Class probabilities of clips, by a confirmed run's networks. Exit code 1: a clip cannot be used.

    A CLIP is the id of a clip of the study's data, a folder of frames, a video, or for a study of flow images one such.
    Of subjects in training the networks that never saw them are asked, one a seed, of others all; what is
    said is the networks' mean.
    """
    asked = _asked(folder, data, storage, name, trial)
    from mer_search.data.clips import Problem
    from mer_search.data.loose import Moments
    from mer_search.engine.local import choose_device
    from mer_search.inference.predict import document
    from mer_search.inference.predict import predict as predict_clips
    from mer_search.report import predictions, terminal

    given = Moments(onset, apex, offset)
    if len(clips) > 1 and given != Moments():
        raise UsageError(f"--onset, --apex and --offset are of one clip, but got {len(clips)}; call once for each")
    with terminal.bars() as progress:
        confirmed = _confirmed(asked, data, trial, progress)
        predicted = predict_clips(confirmed, clips, subject, given, choose_device(device), progress)
    if as_json:
        click.echo(json.dumps(document(confirmed, predicted), indent=1))
    else:
        predictions.print_predictions(confirmed, predicted)
    sys.exit(1 if any(isinstance(each, Problem) for each in predicted) else 0)


@click.command(epilog=example("mer-search export --subject sub05"))
@trial_option
@folder_option
@options("data")
@click.option("--subject", help="Only the networks that never saw this person.  [default: all]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: onnx in the confirmation's folder]")
@click.option(
    "--final",
    is_flag=True,
    help="Train on everybody instead, as --device, --executor and --slots say, and write one file for new people.  "
    "[folder: final in the confirmation's]",
)
@options("storage study-name device executor slots yes")
def export(
    trial: int | None,
    folder: Path | None,
    data: Path | None,
    subject: str | None,
    out: Path | None,
    final: bool,
    storage: str,
    name: str | None,
    device: str,
    executor: str,
    slots: int | None,
    yes: bool,
) -> None:
    """Write a confirmed run's networks as ONNX, a file a person: the mean of the networks that never saw that person,
    checked against torch with onnxruntime."""
    asked = _asked(folder, data, storage, name, trial)
    from mer_search.engine import stop
    from mer_search.engine.local import choose_device
    from mer_search.engine.where import Where
    from mer_search.inference.export import export as write
    from mer_search.inference.final import export_final
    from mer_search.report import predictions, terminal

    if final and subject:
        raise UsageError(f"--final leaves nobody out, but got --subject {subject}; leave one of the two out")
    with stop.polling(), terminal.bars() as progress:
        confirmed = _confirmed(asked, data, trial, progress)
        if final:
            where = Where(executor, choose_device(device, executor), slots)
            written = [export_final(confirmed, where, out, progress, announcing(yes, progress))]
        else:
            written = write(confirmed, [subject] if subject else confirmed.subjects, out, progress)
    predictions.print_exported(confirmed, written)


def _asked(
    folder: Path | None, data: Path | None, storage: str, name: str | None, trial: int | None
) -> "Path | optuna.Study":
    """Where the networks are: a folder, or a study. A wrong name fails before PyTorch is loaded."""
    from mer_search.search.storage import find_study, open_storage

    if folder is None:
        if data:
            raise UsageError("--data goes with --folder, for a study knows its data; leave it out or give a folder")
        return find_study(open_storage(storage), name)
    if trial is not None or name:
        raise UsageError("--folder takes the place of --trial and --study-name; leave it out or them")
    if not folder.is_dir():
        raise UsageError(f"--folder must be a confirmation's folder, but there is none at {folder}")
    return folder


def _confirmed(asked: "Path | optuna.Study", data: Path | None, trial: int | None, progress: "Progress") -> "Confirmed":
    """Whose networks are used: those in a folder, or a study's."""
    from mer_search.inference.predict import confirmed_in, find_confirmed
    from mer_search.search.workspace import find_data

    return confirmed_in(asked, find_data(data, progress)) if isinstance(asked, Path) else find_confirmed(asked, trial)

"""Commands that use what was confirmed: predict clips, write networks for other programs."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mer_search.cli.options import Given, example, options, print_json
from mer_search.errors import UsageError

if TYPE_CHECKING:
    import optuna

    from mer_search.inference.predict import Confirmed
    from mer_search.search.workspace import Progress

frame = click.IntRange(min=0)


@click.command(epilog=example("mer-search predict sub05/EP01_11 ~/clips/one ~/clips/two.avi --json"))
@click.argument("clips", metavar="CLIP...", nargs=-1, required=True)
@options("trial folder data")
@click.option("--subject", help="Who is in the clips, if in the study's data.  [default: as their ids and folders say]")
@click.option("--onset", type=frame, help="Frame number.  [default: as annotated, else the strongest motion found]")
@click.option("--apex", type=frame, help="The same.")
@click.option("--offset", type=frame, help="The same.")
@options("storage name device as_json")
def predict(
    given: Given, clips: tuple[str, ...], subject: str | None, onset: int | None, apex: int | None, offset: int | None
) -> None:
    """Class probabilities of clips, by a confirmed run's networks. Exit code 1: a clip cannot be used.

    A CLIP is the id of a clip of the study's data, a folder of frames, a video, or for a study of flow images one such.
    Of subjects in training the networks that never saw them are asked, one a seed, of others all; what is
    said is the networks' mean.
    """
    asked = _asked(given)
    from mer_search.data.clips import Problem
    from mer_search.data.loose import Moments
    from mer_search.inference.predict import document
    from mer_search.inference.predict import predict as predict_clips
    from mer_search.report import predictions, terminal

    moments = Moments(onset, apex, offset)
    if len(clips) > 1 and moments != Moments():
        raise UsageError(f"--onset, --apex and --offset are of one clip, but got {len(clips)}; call once for each")
    with terminal.bars() as progress:
        confirmed = _confirmed(asked, given, progress)
        predicted = predict_clips(confirmed, clips, subject, moments, given.where.device, progress)
    if given.as_json:
        print_json(document(confirmed, predicted))
    else:
        predictions.print_predictions(confirmed, predicted)
    sys.exit(1 if any(isinstance(each, Problem) for each in predicted) else 0)


@click.command(epilog=example("mer-search export --subject sub05"))
@options("trial folder data")
@click.option("--subject", help="Only the networks that never saw this person.  [default: all]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: onnx in the confirmation's folder]")
@click.option(
    "--final",
    is_flag=True,
    help="Train on everybody instead, as --device, --executor and --slots say, and write one file for new people.  "
    "[folder: final in the confirmation's]",
)
@options("storage name device executor slots yes")
def export(given: Given, subject: str | None, out: Path | None, final: bool) -> None:
    """Write a confirmed run's networks as ONNX, a file a person: the mean of the networks that never saw that person,
    checked against torch with onnxruntime."""
    asked = _asked(given)
    from mer_search.inference.export import export as write
    from mer_search.inference.export import export_final
    from mer_search.report import predictions, terminal

    if final and subject:
        raise UsageError(f"--final leaves nobody out, but got --subject {subject}; leave one of the two out")
    with terminal.working() as progress:
        confirmed = _confirmed(asked, given, progress)
        if final:
            written = [export_final(confirmed, given.where, out, progress, given.announcing(progress))]
        else:
            written = write(confirmed, [subject] if subject else confirmed.subjects, out, progress)
    predictions.print_exported(confirmed, written)


def _asked(given: Given) -> "Path | optuna.Study":
    """Where the networks are: a folder, or a study. A wrong name fails before PyTorch is loaded."""
    if given.folder is None:
        if given.data:
            raise UsageError(
                "--data goes with --folder, for a study knows its data; where that was moved, `mer-search run --data` "
                "tells it"
            )
        return given.study()
    if given.trial is not None or given.name:
        raise UsageError("--folder takes the place of --trial and --study-name; leave it out or them")
    if not given.folder.is_dir():
        raise UsageError(f"--folder must be a confirmation's folder, but there is none at {given.folder}")
    return given.folder


def _confirmed(asked: "Path | optuna.Study", given: Given, progress: "Progress") -> "Confirmed":
    """Whose networks are used: those in a folder, or a study's."""
    from mer_search.inference.predict import confirmed_in, find_confirmed
    from mer_search.search.workspace import find_data

    if isinstance(asked, Path):
        confirmed = confirmed_in(asked, Path())
        return replace(confirmed, data=find_data(given.data, progress))
    return find_confirmed(asked, given.trial)

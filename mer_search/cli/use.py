"""Commands that use what was confirmed: predict clips, write networks for other programs."""

import json
import sys
from pathlib import Path

import click

from mer_search.cli.options import device_option, example, json_option, name_option, storage_option
from mer_search.errors import UsageError

trial_option = click.option(
    "--trial", type=click.IntRange(min=0), help="A confirmed trial.  [default: the one confirmed last]"
)
frame = click.IntRange(min=0)


@click.command(epilog=example("mer-search predict sub05/EP02_01f ~/clips/one ~/clips/two.avi --json"))
@click.argument("clips", metavar="CLIP...", nargs=-1, required=True)
@trial_option
@click.option("--subject", help="Who is in the clips, if in the study's data.  [default: as their ids and folders say]")
@click.option("--onset", type=frame, help="Frame number.  [default: as annotated, else the strongest motion found]")
@click.option("--apex", type=frame, help="The same.")
@click.option("--offset", type=frame, help="The same.")
@storage_option
@name_option
@device_option
@json_option
def predict(
    clips: tuple[str, ...],
    trial: int | None,
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
    from mer_search.data.clips import Problem
    from mer_search.data.loose import Moments
    from mer_search.engine.local import choose_device
    from mer_search.inference.predict import document, find_confirmed
    from mer_search.inference.predict import predict as predict_clips
    from mer_search.report import predictions, terminal
    from mer_search.search.storage import find_study, open_storage

    given = Moments(onset, apex, offset)
    if len(clips) > 1 and given != Moments():
        raise UsageError(f"--onset, --apex and --offset are of one clip, but got {len(clips)}; call once for each")
    confirmed = find_confirmed(find_study(open_storage(storage), name), trial)
    with terminal.bars() as progress:
        predicted = predict_clips(confirmed, clips, subject, given, choose_device(device), progress)
    if as_json:
        click.echo(json.dumps(document(confirmed, predicted), indent=1))
    else:
        predictions.print_predictions(confirmed, predicted)
    sys.exit(1 if any(isinstance(each, Problem) for each in predicted) else 0)


@click.command(epilog=example("mer-search export --subject sub05"))
@trial_option
@click.option("--subject", help="Only the networks that never saw this person.  [default: all]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: onnx in the confirmation's folder]")
@storage_option
@name_option
def export(trial: int | None, subject: str | None, out: Path | None, storage: str, name: str | None) -> None:
    """Write a confirmed run's networks as ONNX, a file a person: the mean of the networks that never saw that person,
    checked against torch with onnxruntime."""
    from mer_search.inference.export import export as write
    from mer_search.inference.predict import find_confirmed
    from mer_search.report import predictions, terminal
    from mer_search.search.storage import find_study, open_storage

    confirmed = find_confirmed(find_study(open_storage(storage), name), trial)
    with terminal.bars() as progress:
        written = write(confirmed, [subject] if subject else confirmed.subjects, out, progress)
    predictions.print_exported(confirmed, written)

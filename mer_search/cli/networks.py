"""Commands about networks: the published ones, weights in files, and those that were confirmed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mer_search.cli.options import PATH, Given, example, main, options
from mer_search.errors import UsageError
from mer_search.files import RANGES

if TYPE_CHECKING:
    from mer_search.inference.predict import Confirmed

FRAME = click.IntRange(min=0)


@main.command(epilog=example("mer-search presets --parity"))
@click.option("--parity", is_flag=True, help="Against what was measured on the public code.")
@options("as_json")
def presets(given: Given, parity: bool) -> None:
    """The published networks: parameters, forward cost at 224 pixels, published macro F1."""
    from mer_search.report import networks

    rows = networks.parity_rows() if parity else networks.preset_rows()
    given.tell(rows, lambda: (networks.print_parity if parity else networks.print_presets)(rows))


@main.command(epilog=example("mer-search reproduce V3NR V5NR --data ~/CASME2"))
@click.argument("names", metavar="[NETWORK]...", nargs=-1)
@click.option(
    "--deviations", metavar="NETWORK", help="Instead: what each deviation of this tool is worth in a network."
)
@options("settings")
@click.option(
    "--seeds", type=click.IntRange(*RANGES["seeds"]), default=1, show_default=True, help="How many seeds, from 0 on."
)
@options("subjects data task device executor slots out yes as_json")
def reproduce(given: Given, names: tuple[str, ...], deviations: str | None, seeds: int) -> None:
    """The published table anew: each NETWORK as its authors' public code has it, under the published rule beside the
    published figure, and under ours. Theirs is the best test epoch, ours selects no epoch; docs/parity.md has the rest.
    Without NETWORK: all of MMNet, V1 to V6d and both ablations, which want a GPU at full size.

    Figures of synthetic clips cannot be set beside published ones. The same command goes on where it was stopped.
    """
    from mer_search.confirmation import reproduce as reproducing
    from mer_search.confirmation.target import check_different
    from mer_search.report import networks, terminal
    from mer_search.report.costs import print_copies
    from mer_search.search.workspace import find_data

    if names and deviations:
        raise UsageError(f"reproduce takes networks or --deviations, but got both: {' '.join(names)} and {deviations}")
    values, where = given.values | given.folds, given.where
    if deviations:
        targets = reproducing.without_each(deviations, values, given.out)
    else:
        targets = reproducing.targets_of(names, values, given.out)
    check_different(targets)
    with terminal.working() as progress:
        path, announce = find_data(given.data, progress), given.announcing(progress)
        print_copies(path, [target.run for target in targets])
        found = reproducing.reproduce(targets, path, given.subjects, range(seeds), where, progress, announce)
    if deviations:
        name, sections = f"deviations-{deviations}", networks.deviation_sections(found)
    else:
        name, sections = "networks", networks.network_sections(found, reproducing.decide(found))
    page = networks.write_page(given.out / "reproduced" / name, found, values, sections)
    if given.as_json:
        click.echo(networks.reproduced_json(found))
    else:
        networks.print_sections(sections)
        terminal.out.print(f"to read in a browser: {page}")


@main.command(epilog=example("mer-search evaluate V3_eval/ --preset V3NR --as-published --data ~/CASME2"))
@click.argument("weights", metavar="WEIGHTS...", nargs=-1, required=True, type=PATH)
@click.option("--preset", "preset_name", help="Whose network they are, unless a run's own config.json says it.")
@options("recipe settings data task device as_json")
def evaluate(given: Given, weights: tuple[Path, ...], preset_name: str | None) -> None:
    """Score weights from files, one a subject, each on the subject that it never saw: .pth that a network's authors
    published, or safetensors of this tool. (`score` takes predictions.)

    WEIGHTS are files, such as runs/demo/confirm/trial-7/checkpoints/1000-*, or folders; a file's name tells the
    subject: 5model.pth, sub05.pth, 1000-sub05.safetensors.
    """
    from mer_search.confirmation.target import preset_target
    from mer_search.inference import evaluate as evaluating
    from mer_search.report import predictions, terminal

    target = preset_target(preset_name, given.values, given.out, given.recipe) if preset_name else None
    kept = evaluating.kept_run(weights)
    if kept and (target or given.recipe or given.settings):
        raise UsageError(
            f"--preset, --as-published and --set go with weights of networks that are not known, but the config.json "
            f"of {weights[0]} says what these are; leave them out"
        )
    if not (run := kept or (target and target.run)):
        raise UsageError(
            "--preset must say whose network the weights are, for no config.json of a run lies beside their folder; "
            "`mer-search presets` lists them"
        )
    with terminal.working() as progress:
        facts = evaluating.evaluate(weights, run, bool(kept), given.folds, given.data, given.where.device, progress)
    title = target.title if target else str(weights[0] if len(weights) == 1 else weights[0].parent)
    given.tell(facts, lambda: predictions.print_evaluated(facts, title))


@main.command(epilog=example("mer-search predict sub05/EP01_11 ~/clips/one ~/clips/two.avi --json"))
@click.argument("clips", metavar="CLIP...", nargs=-1, required=True)
@options("trial folder data")
@click.option("--subject", help="Who is in the clips, if in the study's data.  [default: as their ids and folders say]")
@click.option("--onset", type=FRAME, help="Frame number.  [default: as annotated, else the strongest motion found]")
@click.option("--apex", type=FRAME, help="The same.")
@click.option("--offset", type=FRAME, help="The same.")
@options("storage name device as_json")
def predict(
    given: Given, clips: tuple[str, ...], subject: str | None, onset: int | None, apex: int | None, offset: int | None
) -> None:
    """Class probabilities of clips, by a confirmed run's networks. Exit code 1: a clip cannot be used.

    A CLIP is the id of a clip of the study's data, a folder of frames, a video, or for a study of flow images one such.
    Of subjects in training the networks that never saw them are asked, one a seed, of others all; what is
    said is the networks' mean.
    """
    from mer_search.report import terminal

    moments = (onset, apex, offset)
    if len(clips) > 1 and any(each is not None for each in moments):
        raise UsageError(f"--onset, --apex and --offset are of one clip, but got {len(clips)}; call once for each")
    with terminal.bars() as progress:
        confirmed = _confirmed(given)
        from mer_search.data.clips import Problem
        from mer_search.data.loose import Moments
        from mer_search.inference import predict as predicting
        from mer_search.report.predictions import print_predictions

        device = given.where.device
        predicted = predicting.predict(confirmed, clips, subject, Moments(*moments), device, progress)
    given.tell(predicting.document(confirmed, predicted), lambda: print_predictions(confirmed, predicted))
    sys.exit(1 if any(isinstance(each, Problem) for each in predicted) else 0)


@main.command(epilog=example("mer-search export --subject sub05"))
@options("trial folder data")
@click.option("--subject", help="Only the networks that never saw this person.  [default: all]")
@click.option("--out", type=PATH, help="Folder.  [default: onnx in the confirmation's folder]")
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
    if final and subject:
        raise UsageError(f"--final leaves no subject out, but got --subject {subject}; leave one of the two out")
    from mer_search.report import terminal

    with terminal.working() as progress:
        confirmed = _confirmed(given, needs_data=final)
        from mer_search.inference.export import export, export_final
        from mer_search.report.predictions import print_exported

        if final:
            written = [export_final(confirmed, given.where, out, progress, given.announcing(progress))]
        else:
            written = export(confirmed, [subject] if subject else confirmed.subjects, out, progress)
    print_exported(confirmed, written)


def _confirmed(given: Given, needs_data: bool = True) -> "Confirmed":
    """The networks that are used: those in a folder, or a study's. A wrong name fails before PyTorch is loaded."""
    if given.folder is None and given.data:
        raise UsageError(
            "--data goes with --folder, for a study knows its data; where that was moved, `mer-search run --data` "
            "tells it"
        )
    if given.folder and (given.trial is not None or given.name):
        raise UsageError("--folder takes the place of --trial and --study-name; leave it out or them")
    if given.folder and not given.folder.is_dir():
        raise UsageError(f"--folder must be a confirmation's folder, but there is none at {given.folder}")
    found = given.folder or given.study()
    from mer_search.inference.predict import confirmed_in, find_confirmed
    from mer_search.search.workspace import chosen_data

    if not isinstance(found, Path):
        return find_confirmed(found, given.trial)
    data = chosen_data(given.data)
    if needs_data and not data:
        raise UsageError("--folder goes with --data, or MER_SEARCH_DATA: the folder of the clips of that confirmation")
    return confirmed_in(found.resolve(), data or Path())

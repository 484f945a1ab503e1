"""The command that confirms what a search found."""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mer_search.cli.options import announcing, data_values, example, options, values_of
from mer_search.errors import DataError, UsageError

if TYPE_CHECKING:
    import optuna

    from mer_search.confirmation.target import Target


@click.command(epilog=example("mer-search confirm --trial 12 --seeds 3"))
@click.option("--trial", type=click.IntRange(min=0), help="Trial number.  [default: the best]")
@click.option("--top", type=click.IntRange(min=2), help="So many of the best trials, compared with the first.")
@click.option("--preset", "preset_name", help="A published network instead of a trial; see `mer-search presets`.")
@click.option(
    "--against",
    help="A preset, with the study's [set] values, or none.  [default: where the search started: the study's base with "
    "its [set] and first [[start]]]",
)
@options("as-published set seeds")
@click.option(
    "--seed",
    "first_seed",
    type=click.IntRange(min=0),
    help="The first of the seeds.  [default: 1000, which no search uses; 0 with --as-published]",
)
@click.option("--epochs", is_flag=True, help="A line an epoch.")
@click.option(
    "--keep-best",
    is_flag=True,
    help="Also the networks of each person's best test epoch, as published, and of V6's first stage.",
)
@options("subjects data task leave-out storage study-name device executor slots out yes json")
def confirm(
    trial: int | None,
    top: int | None,
    preset_name: str | None,
    against: str | None,
    recipe: str,
    settings: tuple[str, ...],
    seeds: int,
    first_seed: int | None,
    epochs: bool,
    keep_best: bool,
    subjects: str,
    data: Path | None,
    task: str,
    leave_out: str | None,
    storage: str,
    name: str | None,
    device: str,
    executor: str,
    slots: int | None,
    out: Path,
    yes: bool,
    as_json: bool,
) -> None:
    """Leave-one-subject-out over all subjects with seeds the search never used, and baselines beside it. A trial is
    compared with where its search started, which costs as many folds again."""
    options = {"--trial": trial, "--top": top, "--preset": preset_name}
    given = [option for option, value in options.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"confirm takes one of --trial, --top and --preset, but got {' and '.join(given)}")
    if (settings or recipe) and not preset_name:
        option = "--set" if settings else "--as-published"
        raise UsageError(f"{option} goes with --preset, for a trial has its values; leave it out or name a preset")
    if preset_name and against not in (None, "none"):
        raise UsageError("--against goes with a trial; `mer-search compare` compares presets")
    from mer_search.search.storage import finals_over, find_study, open_storage

    asked = preset_name or find_study(open_storage(storage), name)  # a wrong name fails before PyTorch is loaded
    from mer_search.api import confirm_targets
    from mer_search.confirmation.confirm import Confirmation
    from mer_search.confirmation.target import on, preset_target, seeds_of, top_targets, trial_target
    from mer_search.engine import stop
    from mer_search.engine.local import choose_device
    from mer_search.engine.where import Where
    from mer_search.report import datasets, terminal
    from mer_search.report import summaries as shown
    from mer_search.report.costs import epoch_line, print_baselines, print_copies, print_not_kept
    from mer_search.search.cost import Cost
    from mer_search.search.workspace import find_data
    from mer_search.training.loop import BEST, LAST, Epoch

    start = study = None
    if isinstance(asked, str):
        targets = [preset_target(asked, values_of(settings), out, recipe)]
    else:
        study = asked
        targets = top_targets(study, top) if top else [trial_target(study, trial)]
        if trial is None and not finals_over(study):
            terminal.note(
                "warning: the study's finals are not over, and may choose another best trial; see `mer-search status`"
            )
        start = _start(study, against, targets)
    values = data_values(task, leave_out)
    targets, start = [on(target, values) for target in targets], start and on(start, values)
    if keep_best:
        targets = [replace(target, keep=(LAST, BEST[target.ties], "action_units")) for target in targets]
    began, where = time.monotonic(), Where(executor, choose_device(device, executor), slots)

    def on_epoch(title: str, epoch: Epoch) -> None:
        if epochs:
            terminal.err.print(epoch_line(title, epoch), markup=False, soft_wrap=True)

    with stop.polling(), terminal.bars() as progress:

        def announce(jobs: Sequence[Confirmation], costs: Sequence[Cost], side_by_side: int) -> None:
            datasets.print_data(jobs[0].loaded)
            print_not_kept(jobs)
            announcing(yes, progress)(jobs, costs, side_by_side)
            print_baselines(jobs)

        fresh = seeds_of(targets, seeds, first_seed)
        path = data or targets[0].data or find_data(None, progress)
        print_copies(path, [target.run for target in targets])
        results = confirm_targets(targets, start, path, subjects, fresh, where, study, progress, announce, on_epoch)
    summaries = [result.summary for result in results]
    if as_json:
        found = [summary.model_dump() for summary in summaries]
        click.echo(json.dumps(found if top else found[0], indent=1))
        return
    terminal.show(shown.top_table(summaries) if top else shown.summary_table(summaries[0]))
    for summary in summaries[: len(targets)]:
        for line in shown.changes_lines([(summary.title, summary.changed)]):
            terminal.say(line)
        terminal.say(shown.conclusion(summary))
    terminal.say(shown.gap(summaries[0]))
    for line in summaries[0].conclusions:
        terminal.say(line)
    terminal.out.print(f"took {terminal.duration(time.monotonic() - began)}; files, to read in a browser:")
    for result in results:
        terminal.out.print(f"  {result.report()}")
    if preset_name and results[0].confirmation.is_whole:
        terminal.out.print(f"its networks: mer-search predict CLIP --folder {shlex.quote(str(results[0].folder))}")


def _start(study: "optuna.Study", against: str | None, targets: "Sequence[Target]") -> "Target | None":
    """What trials are compared with; None for --against none, or with a word if an earlier version left too little."""
    from mer_search.confirmation.target import start_target

    if against == "none":
        return None
    try:
        return start_target(study, against or "", targets)
    except DataError as error:
        if against:
            raise
        click.echo(f"no comparison with where the search started: {error}", err=True)
        return None

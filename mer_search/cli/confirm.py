"""The command that confirms what a search found."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace

import click

from mer_search.cli.options import Given, example, options, print_json
from mer_search.errors import UsageError
from mer_search.files import RANGES, RUNS


@click.command(epilog=example("mer-search confirm --trial 12 --seeds 3"))
@click.option("--trial", type=click.IntRange(min=0), help="Trial number.  [default: the best]")
@click.option("--top", type=click.IntRange(min=2), help="So many of the best trials, compared with the first.")
@click.option("--preset", "preset_name", help="A published network instead of a trial; see `mer-search presets`.")
@click.option(
    "--against",
    help="A preset, with the study's [set] values, or none.  [default: where the search started: the study's base with "
    "its [set] and first [[start]]]",
)
@options("recipe settings seeds")
@click.option(
    "--seed",
    "first_seed",
    type=click.IntRange(*RANGES["first_seed"]),
    help="The first of the seeds.  [default: 1000, which no search uses; 0 with --as-published]",
)
@click.option("--epochs", is_flag=True, help="A line an epoch.")
@click.option(
    "--keep-best",
    is_flag=True,
    help="Also the networks of each person's best test epoch, as published, and of V6's first stage.",
)
@options("subjects data task leave_out storage name device executor slots out yes as_json")
def confirm(
    given: Given,
    trial: int | None,
    top: int | None,
    preset_name: str | None,
    against: str | None,
    first_seed: int | None,
    epochs: bool,
    keep_best: bool,
) -> None:
    """Leave-one-subject-out over all subjects with seeds the search never used, and baselines beside it. A trial is
    compared with where its search started, which costs as many folds again."""
    networks = {"--trial": trial, "--top": top, "--preset": preset_name}
    asked = [option for option, value in networks.items() if value is not None]
    if len(asked) > 1:
        raise UsageError(f"confirm takes one of --trial, --top and --preset, but got {' and '.join(asked)}")
    if (given.settings or given.recipe) and not preset_name:
        option = "--set" if given.settings else "--as-published"
        raise UsageError(f"{option} goes with --preset, for a trial has its values; leave it out or name a preset")
    if preset_name and against not in (None, "none"):
        raise UsageError("--against goes with a trial; `mer-search compare` compares presets")
    if given.out != RUNS and not preset_name:
        raise UsageError(f"--out goes with --preset, for a study has its folder; leave out {str(given.out)!r}")
    study = None if preset_name else given.study()
    from mer_search.api import confirm_targets
    from mer_search.confirmation.confirm import Confirmation
    from mer_search.confirmation.target import (
        data_for,
        on,
        preset_target,
        seeds_of,
        start_target,
        top_targets,
        trial_target,
    )
    from mer_search.report import summaries as shown
    from mer_search.report import terminal
    from mer_search.report.costs import epoch_line, print_baselines, print_copies, print_data, print_not_kept
    from mer_search.search.cost import Cost
    from mer_search.search.storage import finals_over
    from mer_search.training.loop import BEST, LAST, Epoch

    start = None
    if preset_name:
        targets = [preset_target(preset_name, given.values, given.out, given.recipe)]
    elif study:
        targets = top_targets(study, top) if top else [trial_target(study, trial)]
        if trial is None and not finals_over(study):
            terminal.note(
                "warning: the study's finals are not over, and may choose another best trial; see `mer-search status`"
            )
        start = None if against == "none" else start_target(study, against or "", targets)
    targets, start = [on(target, given.folds) for target in targets], start and on(start, given.folds)
    if keep_best:
        targets = [replace(target, keep=(LAST, BEST[target.ties], "action_units")) for target in targets]
    began, where = time.monotonic(), given.where

    def on_epoch(title: str, epoch: Epoch) -> None:
        if epochs:
            terminal.err.print(epoch_line(title, epoch))

    with terminal.working() as progress:

        def announce(jobs: Sequence[Confirmation], costs: Sequence[Cost], side_by_side: int) -> None:
            print_data(jobs[0].loaded)
            print_not_kept(jobs)
            given.announcing(progress)(jobs, costs, side_by_side)
            print_baselines(jobs)

        fresh = seeds_of(targets, given.seeds, first_seed)
        path = data_for(targets, given.data, progress)
        print_copies(path, [target.run for target in targets])
        results = confirm_targets(
            targets, start, path, given.subjects, fresh, where, study, progress, announce, on_epoch
        )
    summaries = [result.summary for result in results]
    if given.as_json:
        found = [summary.model_dump() for summary in summaries]
        print_json(found if top else found[0])
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

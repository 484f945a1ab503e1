"""The command that confirms what a search found."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mer_search.cli.options import (
    data_option,
    device_option,
    example,
    executor_option,
    json_option,
    name_option,
    out_option,
    seeds_option,
    set_option,
    slots_option,
    storage_option,
    subjects_option,
    task_option,
    values_of,
)
from mer_search.errors import DataError, UsageError

if TYPE_CHECKING:
    import optuna

    from mer_search.confirm.confirmation import Target


@click.command(epilog=example("mer-search confirm --trial 12 --seeds 3"))
@click.option("--trial", type=click.IntRange(min=0), help="Trial number.  [default: the best]")
@click.option("--top", type=click.IntRange(min=2), help="So many of the best trials, compared with the first.")
@click.option("--preset", "preset_name", help="A published network instead of a trial; see `mer-search presets`.")
@click.option(
    "--against",
    help="A preset, with the study's [set] values, or none.  [default: where the search started: the study's base with "
    "its [set] and first [[start]]]",
)
@set_option
@seeds_option
@subjects_option
@data_option
@task_option
@storage_option
@name_option
@device_option
@executor_option
@slots_option
@out_option
@json_option
def confirm(
    trial: int | None,
    top: int | None,
    preset_name: str | None,
    against: str | None,
    settings: tuple[str, ...],
    seeds: int,
    subjects: str,
    data: Path | None,
    task: str,
    storage: str,
    name: str | None,
    device: str,
    executor: str,
    slots: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Leave-one-subject-out over all subjects with seeds the search never used, and baselines beside it. A trial is
    compared with where its search started, which costs as many folds again."""
    from mer_search.config import with_values
    from mer_search.confirm import compare as comparing
    from mer_search.confirm import confirmation as confirming
    from mer_search.confirm.hindsight import confirmations
    from mer_search.confirm.summary import summarise, write
    from mer_search.engine import stop
    from mer_search.engine.executor import Where
    from mer_search.engine.local import choose_device
    from mer_search.report import conclusions, datasets, terminal
    from mer_search.report import summaries as shown
    from mer_search.report.dashboard import attach_confirmation
    from mer_search.report.page import write_report
    from mer_search.search.storage import finals_over, find_study, open_storage
    from mer_search.search.workspace import find_data

    options = {"--trial": trial, "--top": top, "--preset": preset_name}
    given = [option for option, value in options.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"confirm takes one of --trial, --top and --preset, but got {' and '.join(given)}")
    if settings and not preset_name:
        raise UsageError("--set goes with --preset, for a trial has its values; leave it out or name a preset")
    if preset_name and against not in (None, "none"):
        raise UsageError("--against goes with a trial; `mer-search compare` compares presets")
    seeds_used = range(confirming.FIRST_SEED, confirming.FIRST_SEED + seeds)
    start = None
    if preset_name:
        targets = [confirming.preset_target(preset_name, values_of(settings), out)]
    else:
        study = find_study(open_storage(storage), name)
        targets = confirming.top_targets(study, top) if top else [confirming.trial_target(study, trial)]
        if trial is None and not finals_over(study):
            terminal.note(
                "warning: the study's finals are not over, and may choose another best trial; see `mer-search status`"
            )
        start = _start(study, against, targets)
    met = targets + ([start] if start and start not in targets else [])
    if task:
        met = [replace(target, run=with_values(target.run, {"data.task": task})) for target in met]
    began, where = time.monotonic(), Where(executor, choose_device(device, executor), slots)
    with stop.polling(), terminal.bars() as progress:
        path = data or targets[0].data or find_data(None, progress)
        jobs = confirming.prepare(met, path, subjects, seeds_used, progress)
        datasets.print_data(jobs[0].loaded)
        folds = confirming.confirm_all(jobs, where, progress, conclusions.print_costs)
        terminal.err.print("scoring, also the baselines on the same folds ...")
        summaries = [summarise(job, trained, progress) for job, trained in zip(jobs, folds, strict=True)]
    if len(jobs) > 1 or start:
        comparison = comparing.compare(jobs, folds)
        unsearched = jobs[0].groups.get("unsearched", ())
        lines = conclusions.comparison_lines(comparison, len(targets), start.title if start else None, unsearched)
        summaries[0] |= {"comparison": comparison.facts, "verdict": lines}
    for job, trained, summary in reversed(list(zip(jobs, folds, summaries, strict=True))):  # the first is the latest
        write(job, trained, summary)
        pictures = write_report(job, trained, summary)
        if not preset_name and job.folder in confirmations(study).values():
            attach_confirmation(study, job.folder.name, pictures)
    if as_json:
        click.echo(json.dumps(summaries if top else summaries[0], indent=1))
        return
    terminal.show(conclusions.top_table(summaries) if top else shown.summary_table(summaries[0]))
    for summary in summaries[: len(targets)]:
        terminal.say(shown.verdict(summary))
    terminal.say(conclusions.gap(summaries[0]))
    for line in summaries[0]["verdict"]:
        terminal.say(line)
    terminal.out.print(f"took {terminal.duration(time.monotonic() - began)}; files, to read in a browser:")
    for job in jobs:
        terminal.out.print(f"  {job.folder / 'report.html'}")


def _start(study: "optuna.Study", against: str | None, targets: "Sequence[Target]") -> "Target | None":
    """What trials are compared with; None for --against none, or with a word if an earlier version left too little."""
    from mer_search.confirm.confirmation import start_target

    if against == "none":
        return None
    try:
        return start_target(study, against or "", targets)
    except DataError as error:
        if against:
            raise
        click.echo(f"no comparison with where the search started: {error}", err=True)
        return None

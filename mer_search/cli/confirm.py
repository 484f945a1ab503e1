"""Commands that confirm: what a search found, and networks against each other."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from mer_search.cli.options import Given, example, main, options
from mer_search.errors import UsageError
from mer_search.files import RANGES, RUNS


@main.command(epilog=example("mer-search confirm --trial 12 --seeds 3"))
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
    if preset_name and against not in (None, "none"):
        raise UsageError("--against goes with a trial; `mer-search compare` compares presets")
    alone = {"--set": given.settings, "--as-published": given.recipe, "--out": given.out != RUNS}
    if wrong := [option for option, value in alone.items() if value and not preset_name]:
        raise UsageError(f"{wrong[0]} goes with --preset, for a trial has its values and its folder; leave it out")
    if preset_name and given.name:
        raise UsageError(
            "--study-name goes with a trial, for --preset takes the clips of --data; leave it out, or compare the "
            f"study's trial with --against {preset_name} instead of --preset"
        )
    what = preset_name or given.study()
    from mer_search.api import confirm_targets, find_targets
    from mer_search.confirmation.confirm import Confirmation
    from mer_search.confirmation.target import data_for, seeds_of
    from mer_search.report import costs, summaries, terminal
    from mer_search.search.cost import Cost
    from mer_search.search.storage import finals_over
    from mer_search.training.loop import BEST, LAST, Epoch

    if not isinstance(what, str) and trial is None and not finals_over(what):
        terminal.note(
            "warning: the study's finals are not over, and may choose another best trial; see `mer-search status`"
        )
    beside = {None: "start", "none": None}.get(against, against)
    targets, start = find_targets(what, trial, top, beside, given.values, given.recipe, given.folds, given.out)
    if keep_best:
        targets = [replace(target, keep=(LAST, BEST[target.ties], "action_units")) for target in targets]
    began, where, fresh = time.monotonic(), given.where, seeds_of(targets, given.seeds, first_seed)

    def on_epoch(title: str, epoch: Epoch) -> None:
        if epochs:
            terminal.err.print(costs.epoch_line(title, epoch))

    with terminal.working() as progress:

        def announce(jobs: Sequence[Confirmation], taken: Sequence[Cost], side_by_side: int) -> None:
            costs.print_data(jobs[0].loaded)
            costs.print_not_kept(jobs)
            given.announcing(progress)(jobs, taken, side_by_side)
            costs.print_baselines(jobs)

        path = data_for(targets, given.data, progress)
        costs.print_copies(path, [target.run for target in targets])
        results = confirm_targets(
            what, targets, start, path, given.subjects, fresh, where, progress, announce, on_epoch
        )
    found = [result.summary for result in results]
    documents = [summary.model_dump() for summary in found]

    def show() -> None:
        terminal.show(summaries.top_table(found) if top else summaries.summary_table(found[0]))
        for summary in found[: len(targets)]:
            for line in (*summaries.changes_lines([(summary.title, summary.changed)]), summaries.conclusion(summary)):
                terminal.say(line)
        for line in (summaries.gap(found[0]), *found[0].conclusions):
            terminal.say(line)
        terminal.out.print(f"took {terminal.duration(time.monotonic() - began)}; files, to read in a browser:")
        for result in results:
            terminal.out.print(f"  {result.report()}")
        if preset_name and results[0].confirmation.is_whole:
            folder = shlex.quote(str(results[0].folder))
            data = shlex.quote(str(results[0].confirmation.loaded.folder.path))
            terminal.out.print(f"its networks: mer-search predict CLIP --folder {folder} --data {data}")

    given.tell(documents if top else documents[0], show)


@main.command(epilog=example("mer-search compare V6 V6c --subjects 1-10"))
@click.argument("names", metavar="NETWORK...", nargs=-1)
@click.option("--plan", help="Comparisons in a row instead: a .toml file, or decision or ablation.")
@options("recipe settings seeds subjects data task leave_out storage name device executor slots out yes as_json")
def compare(given: Given, names: tuple[str, ...], plan: str | None) -> None:
    """Networks against each other: same seeds, same folds, paired by subject. A NETWORK is a preset's name, or the
    number of a trial of the study, whose data, task, folds and OUT are then taken. What was found is a page in
    OUT/compare, and a part of the next `mer-search report`."""
    if bool(plan) == bool(names) or len(names) == 1:
        got = " ".join(names) + (" and --plan" if plan else "") if names else "neither"
        raise UsageError(f"compare takes two networks or more, such as `compare V6 V6c`, or --plan, but got {got}")
    if plan and given.subjects != "all":
        raise UsageError(f"--subjects goes with networks, for a plan has its own; leave out {given.subjects!r}")
    from mer_search.api import compare_targets
    from mer_search.confirmation.plans import Step, follow, load_plan
    from mer_search.confirmation.summary import Comparison
    from mer_search.confirmation.target import check_different, data_for, out_of, seeds_of, targets_of
    from mer_search.report import networks, terminal
    from mer_search.report.costs import print_copies

    where, pages, found = given.where, list[Path](), []
    steps = load_plan(plan) if plan else (Step(name="", compare=names, subjects=given.subjects),)
    chosen = {network for step in steps for network in step.compare} - {step.name for step in steps if step.name}
    targets = targets_of(sorted(chosen), given.study, given.values, given.folds, given.recipe, given.out)
    for step in steps:  # a wrong name fails before anything is trained
        check_different(targets[network] for network in step.compare if network in chosen)
    fresh, out = seeds_of(targets.values(), given.seeds, None), out_of(targets, given.out)
    with terminal.working() as progress:
        path = data_for(targets.values(), given.data, progress)

    def evaluate(networks: Sequence[str], subjects: str) -> tuple[int, Comparison]:
        met = [targets[each] for each in networks]
        with terminal.working() as progress:
            print_copies(path, [target.run for target in met])
            announce = given.announcing(progress)
            comparison, page = compare_targets(met, path, subjects, fresh, where, out, progress, announce)
        pages.append(page)
        return [network.name for network in comparison.networks].index(comparison.winner), comparison

    for step, met, winner, comparison in follow(steps, evaluate):
        facts = comparison.model_dump() if comparison else {"winner": winner}
        found.append({"step": step.name, "networks": met, **facts})
        if not given.as_json:
            networks.print_step(step, met, comparison)
    given.tell(found if plan else found[0], lambda: terminal.out.print("\n".join(f"page: {page}" for page in pages)))

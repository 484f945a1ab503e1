"""Commands about networks that have a name."""

from collections.abc import Sequence
from pathlib import Path

import click

from mer_search.cli.options import Given, example, options, print_json
from mer_search.errors import UsageError
from mer_search.files import RANGES


@click.command(epilog=example("mer-search presets --parity"))
@click.option("--parity", is_flag=True, help="Against what was measured on the public code.")
@options("as_json")
def presets(given: Given, parity: bool) -> None:
    """The published networks: parameters, forward cost at 224 pixels, published macro F1."""
    from mer_search.report import networks

    rows = networks.parity_rows() if parity else networks.preset_rows()
    if given.as_json:
        print_json(rows)
    elif parity:
        networks.print_parity(rows)
    else:
        networks.print_presets(rows)


@click.command(epilog=example("mer-search compare V6 V6c --subjects 1-10"))
@click.argument("names", metavar="NETWORK...", nargs=-1)
@click.option("--plan", help="Comparisons in a row instead: a .toml file, or decision or ablation.")
@options("recipe settings seeds subjects data task leave_out storage name device executor slots out yes as_json")
def compare(given: Given, names: tuple[str, ...], plan: str | None) -> None:
    """Networks against each other: same seeds, same folds, paired by subject. A NETWORK is a preset's name, or the
    number of a trial of the study, whose data, task, folds and OUT are then taken. What was found is a page in
    OUT/compare, and a part of the next `mer-search report`."""
    from mer_search.confirmation import compare as comparing
    from mer_search.confirmation.confirm import confirm_all, prepare
    from mer_search.confirmation.plans import Step, follow, load_plan
    from mer_search.confirmation.summary import Comparison
    from mer_search.confirmation.target import check_different, data_for, out_of, seeds_of, targets_of
    from mer_search.report import networks, terminal
    from mer_search.report.costs import print_copies
    from mer_search.report.page import write_comparison

    if bool(plan) == bool(names) or len(names) == 1:
        got = " ".join(names) + (" and --plan" if plan else "") if names else "neither"
        raise UsageError(f"compare takes two networks or more, such as `compare V6 V6c`, or --plan, but got {got}")
    if plan and given.subjects != "all":
        raise UsageError(f"--subjects goes with networks, for a plan has its own; leave out {given.subjects!r}")
    values, where = given.values, given.where
    steps = load_plan(plan) if plan else (Step(name="", compare=names, subjects=given.subjects),)
    chosen = {network for step in steps for network in step.compare} - {step.name for step in steps}
    targets = targets_of(sorted(chosen), given.study, values, given.folds, given.recipe, given.out)
    for step in steps:  # a wrong name fails before anything is trained
        check_different(targets[network] for network in step.compare if network in chosen)
    fresh, out = seeds_of(targets.values(), given.seeds, None), out_of(targets, given.out)
    with terminal.working() as progress:
        path = data_for(targets.values(), given.data, progress)

    def evaluate(networks: Sequence[str], subjects: str) -> tuple[int, Comparison]:
        with terminal.working() as progress:
            print_copies(path, [targets[each].run for each in networks])
            jobs = prepare([targets[each] for each in networks], path, subjects, fresh, progress)
            found = comparing.compare(jobs, confirm_all(jobs, where, progress, given.announcing(progress)))
        return [network.name for network in found.networks].index(found.winner), found

    found, pages = [], []
    for step, met, winner, comparison in follow(steps, evaluate):
        if comparison:
            pages.append(write_comparison(comparison, comparing.keep(comparison, out).with_suffix(".html")))
        found.append(
            {"step": step.name, "networks": met, **(comparison.model_dump() if comparison else {"winner": winner})}
        )
        if not given.as_json:
            networks.print_step(step, met, comparison)
    if given.as_json:
        print_json(found if plan else found[0])
    else:
        for page in pages:
            terminal.out.print(f"page: {page}")


@click.command(epilog=example("mer-search reproduce V3NR V5NR --data ~/CASME2"))
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
    from mer_search.report import reproduction, terminal
    from mer_search.report.costs import print_copies
    from mer_search.search.workspace import find_data

    if names and deviations:
        raise UsageError(f"reproduce takes networks or --deviations, but got both: {' '.join(names)} and {deviations}")
    values = given.values | given.folds
    if deviations:
        targets = reproducing.without_each(deviations, values, given.out)
    else:
        targets = reproducing.targets_of(names, values, given.out)
    check_different(targets)
    where = given.where
    with terminal.working() as progress:
        path = find_data(given.data, progress)
        print_copies(path, [target.run for target in targets])
        found = reproducing.reproduce(
            targets, path, given.subjects, range(seeds), where, progress, given.announcing(progress)
        )
    if deviations:
        sections = reproduction.deviation_sections(found)
    else:
        sections = reproduction.network_sections(found, reproducing.decide(found))
    folder = given.out / "reproduced" / (f"deviations-{deviations}" if deviations else "networks")
    page = reproduction.write_page(folder, found, values, sections)
    if given.as_json:
        click.echo(reproduction.facts(found))
    else:
        reproduction.print_sections(sections)
        terminal.out.print(f"to read in a browser: {page}")


@click.command(epilog=example("mer-search evaluate V3_eval/ --preset V3NR --as-published --data ~/CASME2"))
@click.argument("weights", metavar="WEIGHTS...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--preset", "preset_name", required=True, help="Whose network they are; see `mer-search presets`.")
@options("recipe settings data task device as_json")
def evaluate(given: Given, weights: tuple[Path, ...], preset_name: str) -> None:
    """Score weights from files, one a subject, each on the subject that it never saw: .pth that a network's authors
    published, or safetensors of this tool. (`score` takes predictions.)

    WEIGHTS are files or folders; a file's name tells the subject: 5model.pth, sub05.pth, 1000-sub05.safetensors.
    """
    from mer_search.config import with_values
    from mer_search.confirmation.target import preset_target
    from mer_search.inference import evaluate as evaluating
    from mer_search.presets import preset
    from mer_search.report import networks, terminal
    from mer_search.search.workspace import find_data, load_data

    values = given.values | given.folds | {"frames.crops": 0}
    run = with_values(preset(preset_name, given.recipe), values)
    with terminal.working() as progress:
        loaded = load_data(find_data(given.data, progress), run, progress)
        files = evaluating.find_weights(weights, sorted(set(loaded.subjects)))
        folds = evaluating.evaluate(files, loaded, given.where.device, progress)
    public = any(file.suffix != ".safetensors" for file in files.values())
    facts = networks.evaluated(folds, loaded, public)
    if given.as_json:
        print_json(facts)
    else:
        networks.print_evaluated(facts, preset_target(preset_name, given.values, given.out, given.recipe).title)

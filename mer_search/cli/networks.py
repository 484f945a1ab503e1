"""Commands about networks that have a name."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

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
from mer_search.errors import UsageError


@click.command(epilog=example("mer-search presets --parity"))
@click.option("--parity", is_flag=True, help="Against what was measured on the public code.")
@json_option
def presets(parity: bool, as_json: bool) -> None:
    """The published networks: parameters, forward cost at 224 pixels, published macro F1."""
    from mer_search.report import networks

    rows = networks.parity_rows() if parity else networks.preset_rows()
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif parity:
        networks.print_parity(rows)
    else:
        networks.print_presets(rows)


@click.command(epilog=example("mer-search compare V6 V6c --subjects 1-10"))
@click.argument("names", metavar="NETWORK...", nargs=-1)
@click.option("--plan", help="Comparisons in a row instead: a .toml file, or decision or ablation.")
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
def compare(
    names: tuple[str, ...],
    plan: str | None,
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
    """Networks against each other: same seeds, same folds, paired by subject. A NETWORK is a preset's name, or the
    number of a trial of the study, whose data are then taken. `mer-search report` shows what was found."""
    from mer_search.confirmation import compare as comparing
    from mer_search.confirmation.confirm import confirm_all, prepare
    from mer_search.confirmation.plans import Step, follow, load_plan
    from mer_search.confirmation.summary import Comparison
    from mer_search.confirmation.target import FIRST_SEED, Target, preset_target, trial_target
    from mer_search.engine import stop
    from mer_search.engine.local import choose_device
    from mer_search.engine.where import Where
    from mer_search.report import networks, terminal
    from mer_search.report.costs import print_costs
    from mer_search.search.storage import find_study, open_storage
    from mer_search.search.workspace import find_data

    if bool(plan) == bool(names) or len(names) == 1:
        given = " ".join(names) + (" and --plan" if plan else "") if names else "neither"
        raise UsageError(f"compare takes two networks or more, such as `compare V6 V6c`, or --plan, but got {given}")
    if plan and subjects != "all":
        raise UsageError(f"--subjects goes with networks, for a plan has its own; leave out {subjects!r}")
    values = values_of(settings) | ({"data.task": task} if task else {})
    steps = load_plan(plan) if plan else (Step(name="", compare=names, subjects=subjects),)
    where = Where(executor, choose_device(device, executor), slots)

    def target(network: str) -> Target:
        if _is_trial(network):
            return trial_target(find_study(open_storage(storage), name), int(network))
        return preset_target(network, values, out)

    chosen = {network for step in steps for network in step.compare} - {step.name for step in steps}
    if settings and all(map(_is_trial, chosen)):
        raise UsageError("--set goes with presets, for a trial has its values; leave it out or name a preset")
    targets = list(map(target, sorted(chosen)))  # a wrong name fails before anything is trained
    with stop.polling(), terminal.bars() as progress:
        path = data or next(filter(None, (each.data for each in targets)), None) or find_data(None, progress)

    def evaluate(networks: Sequence[str], subjects: str) -> Comparison:
        fresh = range(FIRST_SEED, FIRST_SEED + seeds)
        with stop.polling(), terminal.bars() as progress:
            jobs = prepare([target(each) for each in networks], path, subjects, fresh, progress)
            return comparing.compare(jobs, confirm_all(jobs, where, progress, print_costs))

    found = []
    for step, met, comparison in follow(steps, evaluate):
        if comparison:
            comparing.keep(comparison, out)
        found.append(
            {"step": step.name, "networks": met, **(comparison.model_dump() if comparison else {"winner": met[0]})}
        )
        if not as_json:
            networks.print_step(step, met, comparison)
    if as_json:
        click.echo(json.dumps(found if plan else found[0], indent=1))


def _is_trial(network: str) -> bool:
    """Whether a network is meant by a trial's number."""
    return re.fullmatch("[0-9]{1,9}", network) is not None

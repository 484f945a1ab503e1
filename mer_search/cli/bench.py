"""Commands that measure: this machine, and ways to search."""

from functools import partial
from pathlib import Path

import click

from mer_search.cli.options import PATH, Commands, Given, example, options


@click.group(cls=Commands, invoke_without_command=True, epilog=example("mer-search bench --json"))
@click.option("--full", is_flag=True, help="224 px and full widths, as on a GPU.  [default: small]")
@click.option("--runs", type=click.IntRange(min=2), default=5, show_default=True, help="Of which medians are shown.")
@options("device as_json")
@click.pass_context
def bench(context: click.Context, given: Given, full: bool, runs: int) -> None:
    """Measure this machine: training steps against its ceiling and the conventional loop, and what is not training.

    The commands below measure ways to search against each other."""
    if context.invoked_subcommand:
        return
    from mer_search.bench.benchmark import measure
    from mer_search.report import costs, terminal

    with terminal.bars() as progress:
        facts = measure(given.where.device, full, runs, progress)
    given.tell(facts, lambda: costs.print_speed(facts))


@bench.command(epilog=example("mer-search bench search --study demo"))
@click.option("--study", "study_name", default="demo", show_default=True, help="Whose space and table of folds.")
@click.option("--table", type=PATH, help="Made by `bench table`.  [default: the study's own]")
@click.option("--trials", type=click.IntRange(min=2), default=20, show_default=True, help="Cost, in whole trials.")
@click.option("--repeats", type=click.IntRange(min=2), default=50, show_default=True)
@click.option("--only", help="Strategies whose names contain this, and the yardstick.")
@options("as_json")
def search(given: Given, study_name: str, table: Path | None, trials: int, repeats: int, only: str | None) -> None:
    """Replay samplers and pruners on a table of folds: what they find at equal cost, and what as many trials cost."""
    from mer_search.bench import fold_table, replay
    from mer_search.report import terminal
    from mer_search.report.trials import print_tournament
    from mer_search.search import space

    path = table or fold_table.shipped(space.load(study_name).name)
    file = fold_table.study_of(path, study_name)
    found = fold_table.load(path, file)
    chosen = [each for each in replay.STRATEGIES if not only or only in each.name or each == replay.YARDSTICK]
    with terminal.bars() as progress:
        results = replay.tournament(found, file, chosen, trials, repeats, partial(progress, "replaying searches"))
    rows = replay.facts(found, results)
    given.tell(rows, lambda: print_tournament(rows, len(found.values), trials, repeats))


@bench.command(epilog=example("mer-search bench table --study demo --configurations 80"))
@click.option("--study", "study_name", default="demo", show_default=True, help="Whose space and subjects.")
@click.option("--configurations", type=click.IntRange(min=2), default=80, show_default=True)
@click.option("--seeds", type=click.IntRange(min=2), default=2, show_default=True)
@options("data device")
@click.option("--out", type=PATH, default=Path("replay"), show_default=True)
def table(given: Given, study_name: str, configurations: int, seeds: int, out: Path) -> None:
    """Train a table of folds, once; the same command goes on where it was stopped."""
    from mer_search.bench import fold_table
    from mer_search.report import terminal
    from mer_search.search import space
    from mer_search.search.storage import check_name
    from mer_search.search.trial import Search
    from mer_search.search.workspace import find_data, load_data

    file = space.load(study_name)
    folder = out / check_name(file.name)
    with terminal.working() as progress:
        loaded = load_data(find_data(given.data, progress), file.base, progress)
        searched, told = Search(file, loaded, loaded.select(file.subjects), 0, out), partial(progress, "training folds")
        with given.where.open(loaded.run) as executor:
            path = fold_table.build(searched, executor, configurations, seeds, folder, told)
    click.echo(f"{configurations} configurations, {seeds} seeds, {len(searched.subjects)} subjects: {path}")

"""The command that measures this machine."""

import click

from mer_search.cli.options import Given, example, main, options


@main.command(epilog=example("mer-search bench --json"))
@click.option("--full", is_flag=True, help="224 px and full widths, as on a GPU.  [default: small]")
@click.option("--runs", type=click.IntRange(min=2), default=5, show_default=True, help="Of which medians are shown.")
@options("device as_json")
def bench(given: Given, full: bool, runs: int) -> None:
    """Measure this machine: training steps against its ceiling and the conventional loop, and what is not training."""
    from mer_search.bench.benchmark import measure
    from mer_search.report import costs, terminal

    with terminal.bars() as progress:
        facts = measure(given.where.device, full, runs, progress)
    given.tell(facts, lambda: costs.print_speed(facts))

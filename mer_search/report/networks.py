"""Tables of networks that have a name: what they cost, and how they do against each other."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from mer_search.config import with_values
from mer_search.confirmation.compare import Comparison, hits
from mer_search.confirmation.plans import Step
from mer_search.model.flops import cost
from mer_search.presets import PRESETS, PUBLIC, preset
from mer_search.report.terminal import plain_table, say, show


def preset_rows() -> list[dict[str, Any]]:
    """Name, parameters, GFLOP, published F1 and source of every preset."""
    rows = []
    for name, item in PRESETS.items():
        parameters, flop = cost(preset(name))
        rows.append(
            {
                "name": name,
                "parameters": parameters,
                "gflop": flop / 1e9,
                "published_f1": item.published_f1,
                "source": item.source,
            }
        )
    return rows


def print_presets(rows: Sequence[dict[str, Any]]) -> None:
    """The published networks."""
    table = plain_table("preset", "parameters", "GFLOP", "published F1")
    for row in rows:
        published = "" if row["published_f1"] is None else f"{row['published_f1']:.4f}"
        table.add_row(row["name"], f"{row['parameters']:,}", f"{row['gflop']:.1f}", published)
    show(table)
    say(
        "GFLOP: one clip, forward, 224 pixels. F1: macro, CASME II, 5 classes, epoch picked on the test subject. V6: "
        "with 35 action units."
    )


def parity_rows() -> list[dict[str, Any]]:
    """For every network that was measured on the public code: its parameters and GFLOP there and here."""
    rows = []
    for name, public in PUBLIC.items():
        parameters, flop = cost(with_values(preset(name), public.values))
        rows.append(
            {
                "name": name,
                "with": dict(public.values),
                "parameters": parameters,
                "public_parameters": public.parameters,
                "gflop": flop / 1e9,
                "public_gflop": public.gflop,
                "equal": parameters == public.parameters
                and public.gflop in (None, float(f"{flop / 1e9:.4g}")),  # as many digits as were noted
            }
        )
    return rows


def print_parity(rows: Sequence[dict[str, Any]]) -> None:
    """The networks against their public code."""
    table = plain_table("preset", "parameters", "public", "GFLOP", "public ", "equal")
    for row in rows:
        public = "" if row["public_gflop"] is None else f"{row['public_gflop']:.4g}"
        cells = (f"{row['parameters']:,}", f"{row['public_parameters']:,}", f"{row['gflop']:.4g}", public)
        table.add_row(row["name"], *cells, "yes" if row["equal"] else "NO")
    show(table)
    say(
        "One clip, forward, 224 pixels; parameters that the forward pass uses. The public V3 and V4 have an external "
        "stem of (128, 256), which is set here."
    )


def print_step(step: Step, networks: Sequence[str], comparison: Comparison | None) -> None:
    """What a comparison found: each network, each subject, the verdict of each pair."""
    title = f"{step.name}: " if step.name else ""
    if comparison is None:
        among = " and ".join(networks)
        say(f"{title}{networks[0]}, without a comparison: {step.only_if} is not among {among}")
        return
    seeds = f"{len(comparison.seeds)} seed{'s' if len(comparison.seeds) > 1 else ''}"
    met = f"{title}{' against '.join(networks)}"
    say(f"{met}: {comparison.dataset}, {len(comparison.subjects)} subjects, {seeds}")
    show(_network_table(comparison))
    show(_subject_table(comparison))
    say(
        "UF1, leak-free (tail), and sd: mean and deviation over seeds. 95 %: for new people like these. p: "
        "networks exchanged subject by subject; of each pair alone."
    )
    for pair in comparison.pairs:
        say(pair.verdict)
    if step.name:
        say(f"{step.name}: {comparison.winner}\n")


def _network_table(comparison: Comparison) -> Table:
    table = plain_table("network", "UF1", "sd", "95 %")
    for each in comparison.facts["networks"]:
        low, high = each["ci95"]
        deviation = "" if each["sd"] is None else f"{each['sd']:.3f}"
        table.add_row(each["name"], f"{each['uf1']:.3f}", deviation, f"{low:.3f} to {high:.3f}")
    return table


def _subject_table(comparison: Comparison) -> Table:
    """How many clips of each subject were right, mean over seeds."""
    table = plain_table("subject", "clips", *(f"{each.name} right" for each in comparison.contestants))
    right = [hits(each) for each in comparison.contestants]
    for place, subject in enumerate(comparison.subjects):
        table.add_row(subject, str(comparison.clips[place]), *(f"{each[place]:.1f}" for each in right))
    return table


def print_tournament(rows: Sequence[dict[str, Any]], configurations: int, trials: int, repeats: int) -> None:
    """What each way to search found in a replay."""
    say(f"{configurations} configurations, at the cost of {trials} whole trials, {repeats} repeats")
    table = plain_table("strategy", "UF1", "95 %", "regret", "rank", "cost", "equals")
    for row in rows:
        low, high = row["uf1"]["ci95"]
        table.add_row(
            row["strategy"],
            f"{row['uf1']['mean']:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{row['regret']:.3f}",
            f"{row['rank']['mean']:.1f}",
            f"{row['cost_of_as_many_trials']:.0%}",
            f"{row['equals_stopped']:.0%}",
        )
    show(table)
    say(
        "UF1: true, of what was chosen; 95 %: over repeats. regret: below the best there is. rank: mean, 1 the best. "
        "cost: of as many trials, as a share of no race's. equals: how often the race stops a trial that equals the "
        "best."
    )


def print_opinions(rows: Sequence[dict[str, Any]], trials: int, repeats: int) -> None:
    """What each sampler found on other people's tables."""
    say(f"{len(rows[0]['tables'])} tables, {trials} trials a search, {repeats} searches each")
    table = plain_table("sampler", "better", "95 %", "rank")
    for row in rows:
        low, high = row["better"]["ci95"]
        table.add_row(
            row["sampler"], f"{row['better']['mean']:.1%}", f"{low:.1%}-{high:.1%}", f"{row['rank']['mean']:.2f}"
        )
    show(table)
    say(
        "better: share of random configurations that are truly better than what was found, mean over tables; 95 %: "
        "over tables. rank: mean, 1 the best."
    )

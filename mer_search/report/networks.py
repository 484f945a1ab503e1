"""Tables of networks that have a name: what they cost, and how they do against each other."""

from collections.abc import Sequence
from typing import Any

from mer_search.config import with_values
from mer_search.confirmation.plans import Step
from mer_search.confirmation.summary import Comparison, NetworkScore
from mer_search.model.flops import cost
from mer_search.presets import PRESETS, PUBLIC, preset
from mer_search.report.document import Cell, Table, decimals
from mer_search.report.summaries import changes_lines
from mer_search.report.terminal import interval, plural, say, show


def preset_rows() -> list[dict[str, Any]]:
    """Name, parameters, GFLOP, published F1 and source of every preset."""
    rows = []
    for name, item in PRESETS.items():
        parameters, flop = cost(preset(name))
        row = {"name": name, "parameters": parameters, "gflop": flop / 1e9}
        rows.append(row | {"published_f1": item.published_f1, "source": item.source})
    return rows


def print_presets(rows: Sequence[dict[str, Any]]) -> None:
    """The same on the terminal."""
    cells = [
        (row["name"], f"{row['parameters']:,}", f"{row['gflop']:.1f}", decimals(row["published_f1"], 4)) for row in rows
    ]
    show(Table(("preset", "parameters", "GFLOP", "published F1"), cells))
    say(
        "GFLOP: one clip, forward, 224 pixels. F1: macro, CASME II, 5 classes, epoch picked on the test subject. V6: "
        "with 35 action units."
    )


def parity_rows() -> list[dict[str, Any]]:
    """For every network that was measured on the public code: its parameters and GFLOP there and here."""
    rows: list[dict[str, Any]] = []
    for name, public in PUBLIC.items():
        parameters, flop = cost(with_values(preset(name), public.values))
        gflop = flop / 1e9
        equal = parameters == public.parameters and public.gflop in (None, float(f"{gflop:.4g}"))  # noted to 4 digits
        row: dict[str, Any] = {"name": name, "with": dict(public.values), "parameters": parameters}
        row |= {"public_parameters": public.parameters, "gflop": gflop, "public_gflop": public.gflop}
        rows.append(row | {"equal": equal})
    return rows


def print_parity(rows: Sequence[dict[str, Any]]) -> None:
    """The same on the terminal."""
    cells: list[tuple[str, ...]] = []
    for row in rows:
        gflop = ["" if value is None else f"{value:.4g}" for value in (row["gflop"], row["public_gflop"])]
        parameters = [f"{row[key]:,}" for key in ("parameters", "public_parameters")]
        cells.append((row["name"], *parameters, *gflop, "yes" if row["equal"] else "NO"))
    show(Table(("preset", "parameters", "public", "GFLOP", "public", "equal"), cells))
    say(
        "One clip, forward, 224 pixels; parameters that the forward pass uses. The public V3 and V4 have an external "
        "stem of (128, 256), which is set here."
    )


def print_step(step: Step, networks: Sequence[str], comparison: Comparison | None) -> None:
    """What a comparison found: each network, how many clips of each subject were right, the conclusion of each pair."""
    title = f"{step.name}: " if step.name else ""
    if comparison is None:
        among = " and ".join(networks)
        say(f"{title}{networks[0]}, without a comparison: {step.only_if} is not among {among}")
        return
    met, seeds = comparison.networks, plural(len(comparison.seeds), "seed")
    named = " against ".join(each.name for each in met)
    say(f"{title}{named}: {comparison.dataset}, {len(comparison.subjects)} subjects, {seeds}")
    show(network_table(met))
    for line in changes_lines((each.name, each.changed) for each in met):
        say(line)
    rows: list[Sequence[Cell]] = [
        (subject, clips, *(f"{each.n_correct_by_subject[subject]:.1f}" for each in met))
        for subject, clips in comparison.clips_by_subject.items()
    ]
    show(Table(("subject", "clips", *(f"{each.name.partition(' with ')[0]} right" for each in met)), rows))
    say(
        "UF1 (tail, no epoch selected) and sd: mean and deviation over seeds. 95 %: for new people like these. p: "
        "networks exchanged subject by subject; of several pairs, corrected for their number (Holm)."
    )
    for pair in comparison.pairs:
        say(pair.conclusion)
    if step.name:
        say(f"{step.name}: {comparison.winner}{'' if comparison.winner_shown else ' (not shown)'}\n")


def network_table(networks: Sequence[NetworkScore]) -> Table:
    """Compared networks, a row each."""
    rows = [(each.name, each.uf1, each.sd, interval(each.ci95)) for each in networks]
    return Table(("network", "UF1", "sd", "95 % interval"), rows)

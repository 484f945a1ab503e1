"""Tables of networks that have a name: what they cost, and how they do against each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mer_search.config import with_values
from mer_search.confirmation.plans import Step
from mer_search.confirmation.summary import Comparison, NetworkScore
from mer_search.evaluation.metrics import fold_confusion, last, scores
from mer_search.evaluation.predictions import Predictions
from mer_search.evaluation.statistics import uf1_interval
from mer_search.model.flops import cost
from mer_search.presets import PRESETS, PUBLIC, preset
from mer_search.report.document import Cell, Table
from mer_search.report.summaries import changes_lines
from mer_search.report.terminal import interval, plural, say, show
from mer_search.search.workspace import Loaded


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
    cells = [
        (
            row["name"],
            f"{row['parameters']:,}",
            f"{row['gflop']:.1f}",
            "" if row["published_f1"] is None else f"{row['published_f1']:.4f}",
        )
        for row in rows
    ]
    show(Table(("preset", "parameters", "GFLOP", "published F1"), cells))
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
    cells = [
        (
            row["name"],
            f"{row['parameters']:,}",
            f"{row['public_parameters']:,}",
            f"{row['gflop']:.4g}",
            "" if row["public_gflop"] is None else f"{row['public_gflop']:.4g}",
            "yes" if row["equal"] else "NO",
        )
        for row in rows
    ]
    show(Table(("preset", "parameters", "public", "GFLOP", "public", "equal"), cells))
    say(
        "One clip, forward, 224 pixels; parameters that the forward pass uses. The public V3 and V4 have an external "
        "stem of (128, 256), which is set here."
    )


def evaluated(folds: Sequence[Predictions], loaded: Loaded, public: bool) -> dict[str, Any]:
    """What networks from files scored: each subject alone, and all together."""
    rows, matrices = [], np.array([[fold_confusion(fold, last) for fold in folds]])
    for fold, matrix in zip(folds, matrices[0], strict=True):
        one = scores(matrix)
        rows.append({"subject": fold.subject, "clips": len(fold.labels), "f1": one.uf1, "accuracy": one.accuracy})
    together = scores(matrices[0].sum(0))
    return {
        "dataset": loaded.folder.title,
        "synthetic": loaded.folder.synthetic,
        "public": public,
        "subjects": rows,
        "missing": sorted(set(loaded.subjects) - {fold.subject for fold in folds}),
        "uf1": together.uf1,
        "ci95": uf1_interval(matrices),
        "uar": together.uar,
        "accuracy": together.accuracy,
    }


def print_evaluated(facts: Mapping[str, Any], name: str) -> None:
    rows = [
        *([each[key] for key in ("subject", "clips", "f1", "accuracy")] for each in facts["subjects"]),
        ["all", sum(each["clips"] for each in facts["subjects"]), facts["uf1"], facts["accuracy"]],
    ]
    show(
        Table(
            ("subject", "clips", "macro F1", "accuracy"),
            rows,
            "all: counted over all subjects before F1 is taken, as UF1 is; a subject's is over its own classes.",
            strong=len(rows) - 1,
            title=f"{name} from files: {facts['dataset']}, {plural(len(facts['subjects']), 'subject')}",
        )
    )
    say(f"UF1 {facts['uf1']:.4f}, 95 % {interval(facts['ci95'])}, UAR {facts['uar']:.4f}.")
    if facts["missing"]:
        say(f"There are no weights for {', '.join(facts['missing'])}: UF1 is without them.")
    if facts["public"]:
        say(
            "Published networks were saved at the epoch that was best on the very person they are tested on here "
            "(LEAKS): compare their figures with others under that rule alone."
        )


def print_step(step: Step, networks: Sequence[str], comparison: Comparison | None) -> None:
    """What a comparison found: each network, each subject, the conclusion of each pair."""
    title = f"{step.name}: " if step.name else ""
    if comparison is None:
        among = " and ".join(networks)
        say(f"{title}{networks[0]}, without a comparison: {step.only_if} is not among {among}")
        return
    seeds = plural(len(comparison.seeds), "seed")
    met = f"{title}{' against '.join(each.name for each in comparison.networks)}"
    say(f"{met}: {comparison.dataset}, {len(comparison.subjects)} subjects, {seeds}")
    show(network_table(comparison.networks))
    for line in changes_lines((each.name, each.changed) for each in comparison.networks):
        say(line)
    show(_subject_table(comparison))
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


def _subject_table(comparison: Comparison) -> Table:
    """How many clips of each subject were right, mean over seeds."""
    rows: list[Sequence[Cell]] = [
        (subject, clips, *(f"{each.n_correct_by_subject[subject]:.1f}" for each in comparison.networks))
        for subject, clips in comparison.clips_by_subject.items()
    ]
    short = (each.name.partition(" with ")[0] for each in comparison.networks)
    return Table(("subject", "clips", *(f"{name} right" for name in short)), rows)


def print_tournament(rows: Sequence[dict[str, Any]], configurations: int, trials: int, repeats: int) -> None:
    """What each way to search found in a replay."""
    say(f"{configurations} configurations, at the cost of {trials} whole trials, {repeats} repeats")
    cells = [
        (
            row["strategy"],
            row["uf1"]["mean"],
            interval(row["uf1"]["ci95"]),
            row["regret"],
            f"{row['rank']['mean']:.1f}",
            f"{row['cost_of_as_many_trials']:.0%}",
            f"{row['equals_stopped']:.0%}",
        )
        for row in rows
    ]
    show(Table(("strategy", "UF1", "95 %", "regret", "rank", "cost", "equals"), cells))
    say(
        "UF1: true, of what was chosen; 95 %: over repeats. regret: below the best there is. rank: mean, 1 the best. "
        "cost: of as many trials, as a share of no pruner's. equals: how often it stops a trial that equals the "
        "best."
    )

"""What is said after a search: what confirmed trials are worth, against each other and where the search started."""

from collections.abc import Sequence

from mer_search.confirmation.difficulty import Ranked
from mer_search.confirmation.summary import Comparison, Summary
from mer_search.report.document import Table
from mer_search.report.summaries import BASELINE_TITLES, on_others
from mer_search.report.terminal import decimals, interval, plural


def gap(summary: Summary) -> str:
    """What the published rule would have added, in one line."""
    honest, leaking = (summary.rules[rule]["all"].uf1 for rule in ("tail", "best_test_epoch"))
    return (
        f"Picking the epoch on the test person would add {100 * (leaking - honest):+.1f} points "
        f"(UF1 {honest:.3f} -> {leaking:.3f})."
    )


def comparison_lines(comparison: Comparison, trials: int, start: str | None) -> list[str]:
    """What follows for the first network, which a search found, against each other one.

    Args:
        comparison: of the confirmed networks.
        trials: how many of them, the first ones, are trials that were to be confirmed.
        start: the name of the one where the search started, or that takes its place; it has the last word.
    """
    lines = [f"{pair.conclusion}." for pair in comparison.pairs if pair.second != start]
    if trials > 1:
        lines.append(
            f"Choosing the best of {trials} by these figures is again a choice: the best of them "
            "looks better than it is. Only the first was chosen before."
        )
    return lines + (_start_lines(comparison, start) if start else [])


def _start_lines(comparison: Comparison, start: str) -> list[str]:
    """Whether the search found something better than where it started."""
    found = comparison.networks[0].name
    if found == start:
        return [f"The search found NOTHING better than where it started: {start} is where it started."]
    place, pair = next((place, pair) for place, pair in enumerate(comparison.pairs) if pair.second == start)
    if pair.same:
        said = f"{found} does NOT differ from {start}: the same confusion matrix for every subject and seed."
    elif not pair.shown:
        said = f"{found} is NOT shown to be better than {start}: {pair.numbers}."
    else:
        said = f"{found} is {'better' if pair.difference > 0 else 'WORSE'} than {start}: {pair.numbers}."
    alone = [
        f"On the {len(comparison.other)} subjects that the search never scored: {each.numbers}."
        for each in comparison.pairs_on_other[place : place + 1]
    ]
    return [said, *alone]


def top_table(summaries: Sequence[Summary]) -> Table:
    """Confirmed networks, a row each, and the baselines."""
    first = summaries[0]
    rows = [
        (
            summary.title,
            *map(decimals, (summary.tail.uf1, summary.tail.sd)),
            interval(summary.tail.ci95),
            *map(decimals, (on_others(summary.rules["tail"]), summary.rules["best_test_epoch"]["all"].uf1)),
        )
        for summary in summaries
    ]
    rows += [
        (
            BASELINE_TITLES[name],
            decimals(groups["all"].uf1),
            "",
            interval(groups["all"].ci95),
            decimals(on_others(groups)),
            "",
        )
        for name, groups in first.baselines.items()
    ]
    easier = ", which are easier, for it took the hardest" if first.other_are_easier else ""
    return Table(
        ("network", "UF1", "sd", "95 % interval", "other", "LEAKS"),
        rows,
        "UF1, sd and 95 %: tail, no epoch selected; mean and deviation over seeds, for new people like these. other: "
        f"leak-free, on the {first.n_subjects - first.n_tuning} subjects that the search never scored{easier}. LEAKS: "
        "best test epoch, the rule of published figures.",
        title=f"{first.dataset}, {first.n_clips} clips, {first.n_subjects} subjects, "
        f"{plural(len(first.seeds), 'seed')}",
    )


def subjects_table(rows: Sequence[Ranked], title: str) -> Table:
    """Subjects, the hardest first."""
    cells = [
        (row.subject, str(row.clips), f"{row.log_loss:.3f}", f"{row.total:.2f}", f"{row.errors:.1%}") for row in rows
    ]
    return Table(
        ("subject", "clips", "log-loss", "sum", "errors"),
        cells,
        "log-loss: under the tail rule, mean over seeds, of a clip; sum: of all its clips, by which subjects are "
        "ranked. errors: share of all subjects' errors.",
        title=title,
    )

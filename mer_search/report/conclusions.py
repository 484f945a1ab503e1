"""What is said after a search: what confirmed trials are worth, against each other and where the search started."""

from collections.abc import Mapping, Sequence

from mer_search.confirmation.compare import Comparison
from mer_search.confirmation.difficulty import Ranked
from mer_search.confirmation.summary import Score, Summary
from mer_search.report.document import Table
from mer_search.report.summaries import TITLES
from mer_search.report.terminal import decimals, plural

MIN_SUBJECTS = 3  # subjects; of fewer a comparison says nothing


def gap(summary: Summary) -> str:
    """What the published rule would have added, in one line."""
    honest, leaking = (summary.rules[rule]["all"].uf1 for rule in ("tail", "best_test_epoch"))
    return (
        f"Picking the epoch on the test person would add {100 * (leaking - honest):+.1f} points "
        f"(UF1 {honest:.3f} -> {leaking:.3f})."
    )


def comparison_lines(comparison: Comparison, trials: int, start: str | None, unsearched: Sequence[str]) -> list[str]:
    """A verdict on the first network, which a search found, against each other one.

    Args:
        comparison: of the confirmed networks.
        trials: how many of them, the first ones, are trials that were to be confirmed.
        start: the name of the one where the search started, or that takes its place; it has the last word.
        unsearched: the subjects that the search never scored.
    """
    lines = [f"{pair.verdict}." for pair in comparison.pairs if pair.second.name != start]
    if trials > 1:
        lines.append(
            f"Choosing the best of {trials} by these figures is again a choice: the best of them "
            "looks better than it is. Only the first was chosen before."
        )
    return lines + (_start_lines(comparison, start, unsearched) if start else [])


def _start_lines(comparison: Comparison, start: str, unsearched: Sequence[str]) -> list[str]:
    """Whether the search found something better than where it started."""
    found, *others = [each.name for each in comparison.contestants]
    if found == start:
        return [f"The search found NOTHING better than where it started: {start} is where it started."]
    place = others.index(start)
    pair = comparison.pairs[place]
    if pair.same:
        said = f"{found} does NOT differ from {start}: the same confusion matrix for every subject and seed."
    elif not pair.shown:
        said = f"{found} is NOT shown to be better than {start}: {pair.numbers}."
    else:
        said = f"{found} is {'better' if pair.difference > 0 else 'WORSE'} than {start}: {pair.numbers}."
    if not MIN_SUBJECTS <= len(unsearched) < len(comparison.subjects):
        return [said]
    alone = comparison.among(unsearched).pairs[place]
    return [said, f"On the {len(unsearched)} subjects that the search never scored: {alone.numbers}."]


def top_table(summaries: Sequence[Summary]) -> Table:
    """Confirmed networks, a row each, and the baselines."""
    first = summaries[0]
    rows = [
        (
            summary.title,
            *map(decimals, (summary.tail.uf1, summary.tail.sd, summary.tail.ci95, _unsearched(summary.rules["tail"]))),
            decimals(summary.rules["best_test_epoch"]["all"].uf1),
        )
        for summary in summaries
    ]
    rows += [
        (TITLES[name], *map(decimals, (groups["all"].uf1, None, groups["all"].ci95, _unsearched(groups), None)))
        for name, groups in first.baselines.items()
    ]
    return Table(
        ("network", "UF1", "sd", "95 % interval", "unsearched", "LEAKS"),
        rows,
        "UF1, sd and 95 %: tail, leak-free; mean and deviation over seeds, for new people like these. "
        f"unsearched: the same on the {first.n_unsearched} subjects that the search never scored. LEAKS: best test "
        "epoch, the rule of published figures.",
        title=f"{first.dataset}, {first.n_clips} clips, {first.n_subjects} subjects, "
        f"{plural(len(first.seeds), 'seed')}",
    )


def _unsearched(groups: Mapping[str, Score]) -> float | None:
    """UF1 on the subjects that the search never scored, if there are such."""
    return groups["unsearched"].uf1 if "unsearched" in groups else None


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

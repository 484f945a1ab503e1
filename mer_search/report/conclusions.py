"""What is said after a search: what confirmed trials are worth, against each other and where the search started."""

from collections.abc import Sequence

from mer_search.confirmation.difficulty import Ranked
from mer_search.confirmation.summary import Comparison, Summary
from mer_search.report.document import Cell, Table, Text
from mer_search.report.summaries import BASELINE_TITLES, better_baseline, conclusion, on_others
from mer_search.report.terminal import interval, plural


def gap(summary: Summary) -> str:
    """What the published rule would have added, in one line."""
    honest, leaking = (summary.rules[rule]["all"].uf1 for rule in ("tail", "best_test_epoch"))
    tested = "database" if summary.left_out == "database" else "person"
    return (
        f"Picking the epoch on the test {tested} would add {100 * (leaking - honest):+.1f} points "
        f"(UF1 {honest:.3f} -> {leaking:.3f})."
    )


def verdicts(summary: Summary) -> list[Text]:
    """Whether a confirmed network beats the baselines and the search's start, and whether its figure leaks."""
    return [_against_baselines(summary), *_against_start(summary), _leak(summary)]


def _against_baselines(summary: Summary) -> Text:
    question, said, score = "Beats the baselines?", conclusion(summary), summary.tail
    best = better_baseline(summary, "all")
    if summary.leaks or best is None:
        return Text(said, "unsure", f"{question} Cannot be told.")
    if score.uf1 <= best:
        return Text(said, "bad", f"{question} No.")
    if score.ci95 is None or score.ci95[0] <= best:
        return Text(said, "unsure", f"{question} Not clearly.")
    return Text(said, "good", f"{question} Yes.")


def _against_start(summary: Summary) -> list[Text]:
    question, found = "Better than the search's start?", summary.comparison
    if summary.n_tuning and (found is None or found.start is None):
        said = f"{summary.title} was not compared with it: `mer-search confirm --trial NUMBER` compares."
        return [Text(said, "unsure", f"{question} Not asked.")]
    if found is None or found.start is None:
        return []  # there was no search
    pair, said = found.against_start, " ".join(start_lines(found))
    if pair is None or pair.same:
        return [Text(said, "bad", f"{question} No.")]
    if not pair.shown:
        return [Text(said, "unsure", f"{question} Not shown.")]
    return [Text(said, *(("good", f"{question} Yes.") if pair.difference > 0 else ("bad", f"{question} No, worse.")))]


def _leak(summary: Summary) -> Text:
    question, other = "Does the figure leak?", summary.rules["tail"].get("other")
    if summary.leaks:
        return Text("These networks were trained with the test person in sight.", "bad", f"{question} Yes.")
    if summary.is_leak_free("tail", "all"):
        return Text(f"No choice was made by the test people's clips. {gap(summary)}", "good", f"{question} No.")
    chosen = f"by the scores of {summary.n_tuning} of these {summary.n_subjects} subjects"
    alone = f" On the others, leak-free: UF1 {other.uf1:.3f} [{interval(other.ci95)}]." if other else ""
    said = f"No epoch was selected, but the configuration was chosen {chosen}.{alone} {gap(summary)}"
    return Text(said, "unsure", f"{question} In part.")


def comparison_lines(comparison: Comparison, trials: int) -> list[str]:
    """What follows for the first network, which a search found, against each other one.

    Args:
        comparison: of the confirmed networks; where the search started has the last word.
        trials: how many of them, the first ones, are trials that were to be confirmed.
    """
    lines = [f"{pair.conclusion}." for pair in comparison.pairs if pair.second != comparison.start]
    if trials > 1:
        lines.append(
            f"Choosing the best of {trials} by these figures is again a choice: the best of them "
            "looks better than it is. Only the first was chosen before."
        )
    return lines + start_lines(comparison)


def start_lines(comparison: Comparison) -> list[str]:
    """Whether the search found something better than where it started; nothing where the start is not compared."""
    found, start = comparison.networks[0].name, comparison.start
    if start is None:
        return []
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
    rows: list[Sequence[Cell]] = [
        (
            summary.title,
            summary.tail.uf1,
            summary.tail.sd,
            interval(summary.tail.ci95),
            on_others(summary.rules["tail"]),
            summary.rules["best_test_epoch"]["all"].uf1,
        )
        for summary in summaries
    ]
    rows += [
        (BASELINE_TITLES[name], groups["all"].uf1, None, interval(groups["all"].ci95), on_others(groups), None)
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
    cells = [(row.subject, row.clips, row.log_loss, f"{row.total:.2f}", f"{row.errors:.1%}") for row in rows]
    return Table(
        ("subject", "clips", "log-loss", "sum", "errors"),
        cells,
        "log-loss: under the tail rule, mean over seeds, of a clip; sum: of all its clips, by which subjects are "
        "ranked. errors: share of all subjects' errors.",
        title=title,
    )

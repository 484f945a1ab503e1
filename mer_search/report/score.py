"""What a log of predictions scores, and how two compare, for the terminal."""

from collections.abc import Sequence

from mer_search.confirmation.score import AS_GIVEN, LogComparison, LogScore, ScoredLog
from mer_search.report.document import Cell, Table
from mer_search.report.summaries import RULE_TITLES
from mer_search.report.terminal import interval, plural, say, show

TITLES = {
    "last": f"{RULE_TITLES['last']}, no epoch selected",
    "best_test_epoch": f"{RULE_TITLES['best_test_epoch']} (LEAKS)",
    "tail": "tail, seeds averaged: no epoch selected",
    AS_GIVEN: "as the log has it",
}
NOT_KNOWN = (
    "The log does not say how the epochs of its predictions were chosen. If each subject's was chosen on that very "
    "subject, as much published code does, these figures LEAK. A log with a column `epoch`, a row for each clip and "
    "epoch, can be scored both ways."
)


def print_logs(scored: Sequence[ScoredLog], compared: LogComparison | None) -> None:
    """What a log scores, class by class and subject by subject; of two what each scores in all, and the first against
    the second."""
    for each in scored:
        _print_estimates(each)
        if not compared:
            _print_details(each)
    if compared:
        _print_comparison(compared, *scored)


def _print_estimates(scored: ScoredLog) -> None:
    subjects = next(iter(scored.rules.values())).subjects
    say(f"{scored.name}: {plural(scored.n_clips, 'clip')} of {plural(len(subjects), 'subject')}")
    rows = [
        (TITLES[rule], each.uf1, interval(each.ci95), each.uar, each.accuracy) for rule, each in scored.rules.items()
    ]
    show(Table(("estimate", "UF1", "95 %", "UAR", "accuracy"), rows))


def _print_details(scored: ScoredLog) -> None:
    first, *others = scored.rules.items()
    show(_confusion_table(scored, *first))
    show(_subject_table(first[1], others[0][1] if others else None))
    say(
        "UF1 is the mean over classes of 2TP / (2TP + FP + FN), counted over all subjects; a subject's F1 is over the "
        "classes that occur or are predicted there. 95 %: for new people like these."
    )
    never = [name for name, row in zip(scored.classes, first[1].confusion, strict=True) if not sum(row)]
    if never:
        say(f"No clip is {' or '.join(never)}: where that is predicted, it counts as a class with an F1 of 0.")
    if not others:
        say(NOT_KNOWN if first[1].leaks is None else "By the rule of the confirmation beside which the log lies.")
        return
    chosen = others[0][1].uf1
    say(
        f"Last epoch: {scored.epochs[-1]} for each subject. Best test epoch LEAKS: of {len(scored.epochs)} epochs it "
        "takes for each subject the one with the best F1 on that very subject, then the best accuracy, then the "
        f"earliest. That alone adds {100 * (chosen - first[1].uf1):+.1f} points ({first[1].uf1:.3f} -> {chosen:.3f}): "
        "compare it only with figures under the same rule."
    )


def _confusion_table(scored: ScoredLog, rule: str, score: LogScore) -> Table:
    rows: list[Sequence[Cell]] = [
        (f"{name} {scored.names.get(name, '')}".strip(), *(_share(count, counts) for count in counts), sum(counts))
        for name, counts in zip(scored.classes, score.confusion, strict=True)
    ]
    caption = f"{TITLES[rule]}: clips, and their share of the row's."
    return Table(("truth \\ predicted", *scored.classes, "clips"), rows, caption)


def _share(count: int, counts: Sequence[int]) -> str:
    return f"{count} ({count / max(1, sum(counts)):.0%})"


def _subject_table(score: LogScore, leaks: LogScore | None) -> Table:
    head = ["subject", "clips", "right", "F1"]
    rows: list[Sequence[Cell]] = [(each.subject, each.n_clips, each.n_correct, each.f1) for each in score.subjects]
    if leaks:
        head += ["best epoch", "right (LEAKS)", "F1 (LEAKS)"]
        best = [(each.epoch, each.n_correct, each.f1) for each in leaks.subjects]
        rows = [(*row, *added) for row, added in zip(rows, best, strict=True)]
    return Table(head, rows)


def _print_comparison(compared: LogComparison, first: ScoredLog, second: ScoredLog) -> None:
    found, lacking = compared.found, compared.not_shared
    say(
        f"In pairs, on {plural(compared.n_shared, 'shared clip')} of {plural(len(found.subjects), 'subject')}; not "
        f"shared: {plural(lacking[0], 'clip')} of {first.name}, {lacking[1]} of {second.name}."
    )
    for pair in found.pairs:
        say(pair.conclusion)
    say(
        "Over the shared clips and the classes of both logs, so UF1 may differ from that above. Of a log with epochs, "
        "the last one. p: the two exchanged subject by subject."
    )
    if unknown := [each.name for each in (first, second) if AS_GIVEN in each.rules]:
        say(
            f"How the epochs of {' and '.join(unknown)} were chosen is not known: a choice on the test person would "
            "be part of the difference."
        )

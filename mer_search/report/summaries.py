"""What a confirmation found, as rows, a table and a sentence: from its summary."""

from collections.abc import Mapping

from mer_search.confirmation.summary import Estimate, Summary
from mer_search.report.document import Table
from mer_search.report.terminal import decimals, plural

TITLES = {  # of what summary.json holds
    "tail": "tail, leak-free",
    "last": "last epoch, leak-free",
    "inner": "inner subjects, leak-free",
    "best_test_epoch": "best test epoch (LEAKS)",
    "logistic_regression": "baseline: logistic regr.",
    "rbf_svm": "baseline: RBF SVM",
}
ENSEMBLE = "tail, seeds averaged"
SEVERAL = "seeds averaged: of the seeds' mean probability, which predict and export give. "
LEGEND = (
    "UF1 and sd: mean and deviation over seeds. 95 %: for new people like these. {several}unsearched: subjects that "
    "the search never scored. corrected: BBC-CV over the search's trials, of one seed each. best test epoch: the rule "
    "of published figures, which picks each subject's epoch on that very subject, and is higher for that reason alone."
)


def legend(summary: Summary) -> str:
    """What the table's words mean."""
    return LEGEND.format(several=SEVERAL if len(summary.seeds) > 1 else "")


def summary_rows(summary: Summary) -> list[tuple[str, ...]]:
    """What a confirmation found, as rows: estimate, subjects, UF1, sd, 95 % interval.

    "all" are all that were asked for.
    """
    found: list[tuple[str, Mapping[str, Estimate]]] = [(TITLES[rule], groups) for rule, groups in summary.rules.items()]
    if len(summary.seeds) > 1:
        found.insert(1, (ENSEMBLE, {group: score.averaged for group, score in summary.rules["tail"].items()}))
    if summary.uf1_bbc:
        found.append(("search's best, corrected", {"searched": summary.uf1_bbc}))
    found += [(TITLES[name], groups) for name, groups in summary.baselines.items()]
    n_subjects = {"all": summary.n_subjects, "unsearched": summary.n_unsearched}
    if summary.uf1_bbc:
        n_subjects["searched"] = summary.uf1_bbc.n_subjects
    return [
        (
            title,
            f"{n_subjects[group]} {group}",
            *(decimals(getattr(score, key, None)) for key in ("uf1", "sd", "ci95")),
        )
        for title, groups in found
        for group, score in groups.items()
    ]


def summary_table(summary: Summary) -> Table:
    """Every estimate of a confirmation, with its interval."""
    rows = summary_rows(summary)
    return Table(
        ("estimate", "subjects", "UF1", "sd", "95 % interval"),
        rows,
        legend(summary),
        left=2,
        strong=next(number for number, row in enumerate(rows) if row[0] == TITLES["tail"]),
        title=f"{summary.title}: {summary.dataset}, {summary.n_clips} clips, {summary.n_subjects} subjects, "
        f"{plural(len(summary.seeds), 'seed')}",
    )


def verdict(summary: Summary) -> str:
    """Whether the network beats the baselines, in one line."""
    network = summary.tail.uf1
    name, best = max(((name, groups["all"].uf1) for name, groups in summary.baselines.items()), key=lambda it: it[1])
    title, seeds = TITLES[name].removeprefix("baseline: "), len(summary.seeds)
    together = summary.tail.averaged.uf1
    side = "above" if together > best else "not above"
    ensemble = f" With its {seeds} seeds averaged: {together:.3f}, {side} the baseline." if seeds > 1 else ""
    if network > best:
        said = f"mean UF1 {network:.3f} is above the better baseline's ({title}, {best:.3f})."
    else:
        said = f"mean UF1 {network:.3f} does NOT beat a baseline: {title} reaches {best:.3f}."
    return f"{summary.title}: {said}{ensemble}"

"""What a confirmation found, and what follows from it, as tables and sentences: from its summary."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mer_search.config import Value
from mer_search.confirmation.summary import NAMED_VALUES, Comparison, Estimate, Pair, Score, Summary
from mer_search.evaluation.metrics import LEAKS, tail_epochs
from mer_search.report.document import Block, Table, Text, Tone, decimals
from mer_search.report.terminal import interval, not_counted, plural

RULE_TITLES = {
    "tail": "tail",
    "last": "last epoch",
    "val_epoch": "epoch by validation subjects",
    "best_test_epoch": "best test epoch",
}
BASELINE_TITLES = {"logistic_regression": "baseline: logistic reg.", "rbf_svm": "baseline: RBF SVM"}
SYNTHETIC = Text("These clips are synthetic: no figure here says anything about real faces.", "unsure", "Synthetic.")
ENOUGH = 10  # tuning subjects, from which the corrected best trial is about right (docs/evaluation.md)
NOT_CHOSEN = "The search did not choose this network."
AnyScore = TypeVar("AnyScore", bound=Estimate)


def lead(synthetic: bool, *blocks: Block) -> list[Block]:
    """Blocks that a reader sees first, after a word on clips that are synthetic."""
    return [SYNTHETIC, *blocks] if synthetic else list(blocks)


def title(summary: Summary, rule: str, group: str) -> str:
    """How a figure under a rule is called: leak-free only where no choice was made on its subjects."""
    if summary.looks(rule):
        return f"{RULE_TITLES[rule]} (LEAKS)"
    if summary.is_leak_free(rule, group):
        return f"{RULE_TITLES[rule]}, leak-free"
    return f"{RULE_TITLES[rule]}, no epoch selected" if rule == "tail" else RULE_TITLES[rule]


def group_title(summary: Summary, group: str) -> str:
    """How a group of subjects is called: "all" by what they are to the search, where that is the same of all."""
    if group == "all" and summary.tuning_subjects and not summary.given and summary.n_tuning in (0, summary.n_subjects):
        group = "tuning" if summary.n_tuning else "other"
    return f"{group}, easier" if group == "other" and summary.other_are_easier else group


def changes_lines(networks: Iterable[tuple[str, Mapping[str, Value]]]) -> list[str]:
    """What was set in presets, where their titles do not say it: a line for all that have the same values."""
    met: dict[str, list[str]] = {}
    for title, changed in networks:
        if len(changed) > NAMED_VALUES:
            text = ", ".join(f"{key} = {value}" for key, value in changed.items())
            met.setdefault(text, []).append(title)
    return [f"Set in {' and '.join(titles)}: {text}." for text, titles in met.items()]


def people(summary: Summary) -> str:
    """Which people an interval is about."""
    return "new people of these databases, not of others" if summary.left_out == "database" else "new people like these"


def legend(summary: Summary) -> str:
    """What the words of its table mean, of those that stand in it."""
    several, by_database = len(summary.seeds) > 1, summary.left_out == "database"
    scores = "the scores of" if summary.n_tuning == summary.n_subjects else "the scores of some of"
    has_other = any(group_title(summary, group).startswith("other") for group in summary.rules["tail"])
    easier = ", which are EASIER, for the search took the hardest" if summary.other_are_easier else ""
    sentences = [
        (True, "UF1 is the mean over classes of 2TP / (2TP + FP + FN), counted over all subjects."),
        (True, not_counted(absent(summary))),
        (tail_epochs(summary.epochs) == 1, "tail is the last epoch here: a fifth of so few epochs is one."),
        (several, "UF1 and sd: mean and deviation over seeds."),
        (True, f"95 %: for {people(summary)}."),
        (not summary.leaks, "baseline: the better one's UF1 on the same subjects."),
        (by_database, "Leave-one-database-out: no network saw a clip of the database that it is tested on."),
        (several, "seeds averaged: of the seeds' mean probability, which predict and export give."),
        (summary.n_chosen_on, f"no epoch selected: but the configuration was chosen by {scores} these subjects."),
        (summary.given, NOT_CHOSEN),
        (has_other, f"other: the subjects that the search never scored{easier}."),
        (
            summary.uf1_bbc,
            "corrected, cross-fitted: by BBC-CV over the search's trials, and the best of each half of the subjects "
            "scored on the other half; of one seed, finals aside.",
        ),
        (
            summary.uf1_bbc and summary.uf1_bbc.n_subjects < ENOUGH,
            f"Of fewer than {ENOUGH} subjects that correction may err by more than it takes back.",
        ),
        (
            summary.uf1_bbc and summary.uf1_bbc.cross_fitted.uf1 == summary.uf1_bbc.best_trial_uf1,
            "Cross-fitting took nothing back here.",
        ),
        (summary.leaks, "LEAKS, all rules: training had the test person in sight, as in the public code."),
        (
            True,
            f"best test epoch: the rule of published figures, which picks each {summary.left_out}'s epoch on that very "
            f"{summary.left_out}.",
        ),
    ]
    return " ".join(sentence for applies, sentence in sentences if applies and sentence)


def absent(summary: Summary) -> Iterator[str]:
    """The classes of which some subjects have no clip, and which subjects, if not all."""
    groups = {group: score.classes_left_out for group, score in shown(summary.rules["tail"])}
    if summary.uf1_bbc:  # of all tuning subjects, also where some were not asked for
        groups["tuning"] = summary.uf1_bbc.classes_left_out
    for place, name in enumerate(summary.classes):
        without = [group for group, left_out in groups.items() if place in left_out]
        if without:
            yield name if "all" in without else f"{name} (among {', '.join(without)})"


def shown(groups: Mapping[str, AnyScore]) -> list[tuple[str, AnyScore]]:
    """The groups that have rows: all but the tuning subjects, which have the corrected estimate."""
    return [(group, score) for group, score in groups.items() if group != "tuning"]


def every_estimate(summary: Summary) -> Iterator[tuple[str, str, Estimate]]:
    """Of everything that a confirmation found: how it is called, its group of subjects, and the estimate."""
    for rule, groups in summary.rules.items():
        asked = [(group, score) for group, score in shown(groups) if group not in summary.databases]
        for group, score in shown(groups) if rule == "tail" else asked:
            yield title(summary, rule, group), group, score
        if rule == "tail" and len(summary.seeds) > 1:
            for group, score in asked:
                yield f"tail, seeds averaged{' (LEAKS)' * summary.leaks}", group, score.averaged
    if summary.uf1_bbc:
        leaks = " (LEAKS)" * (summary.uf1_bbc.rule in LEAKS)
        yield f"corrected best trial{leaks}", "tuning", summary.uf1_bbc
        yield f"cross-fitted best trial{leaks}", "tuning", summary.uf1_bbc.cross_fitted
    for name, baseline in summary.baselines.items():
        for group, estimate in shown(baseline):
            yield BASELINE_TITLES[name], group, estimate


def summary_rows(summary: Summary) -> list[tuple[str, ...]]:
    """Every estimate: what it is called, its subjects, UF1, sd, 95 % interval, the better baseline's UF1."""
    n_subjects = {"all": summary.n_subjects, "other": summary.n_subjects - summary.n_tuning}
    n_subjects |= {name: len(members) for name, members in summary.databases.items()}
    n_subjects["tuning"] = summary.uf1_bbc.n_subjects if summary.uf1_bbc else 0
    rows: list[tuple[str, ...]] = []
    for name, group, score in every_estimate(summary):
        subjects, sd = f"{n_subjects[group]} {group_title(summary, group)}", decimals(getattr(score, "sd", None))
        alone = name in BASELINE_TITLES.values() or summary.leaks
        baseline = "" if alone else decimals(better_baseline(summary, group))
        rows.append((name, subjects, decimals(score.uf1), sd, interval(score.ci95), baseline))
    return rows


def summary_table(summary: Summary) -> Table:
    """Every estimate of a confirmation, with its interval."""
    head, named = ("estimate", "subjects", "UF1", "sd", "95 %", "baseline"), f"{summary.title}: {_asked(summary)}"
    return Table(head, summary_rows(summary), legend(summary), left=2, strong=0, title=named).without_empty()


def _asked(summary: Summary) -> str:
    clips, subjects = f"{summary.n_clips} clips", plural(summary.n_subjects, "subject")
    return f"{summary.dataset}, {clips}, {subjects}, {plural(len(summary.seeds), 'seed')}"


def better_baseline(summary: Summary, group: str) -> float | None:
    """The better baseline's UF1 on a group of subjects; None where it has none on just these."""
    if group == "tuning" and summary.uf1_bbc and summary.uf1_bbc.n_subjects != summary.n_tuning:
        return None  # some of the tuning subjects were not asked for
    if group == "tuning" and summary.n_tuning == summary.n_subjects:
        group = "all"
    return max((groups[group].uf1 for groups in summary.baselines.values() if group in groups), default=None)


def conclusion(summary: Summary) -> str:
    """Whether the network beats the baselines, in one line."""
    return _against_baselines(summary).text


def verdicts(summary: Summary) -> list[Text]:
    """Whether a confirmed network beats the baselines and the search's start, and whether its figure leaks."""
    return [_against_baselines(summary), *_against_start(summary), _leak(summary)]


def _against_baselines(summary: Summary) -> Text:
    question, score, pairs = "Beats the baselines?", summary.tail, summary.against_baseline
    if summary.leaks:
        said = f"mean UF1 {score.uf1:.3f} LEAKS, so that no baseline can be set beside it."
        return Text(f"{summary.title}: {said}", "unsure", f"{question} Cannot be told.")
    if not pairs:
        said = "an earlier version wrote this; the same `mer-search confirm` sets it beside the baselines in pairs."
        return Text(f"{summary.title}: {said}", "unsure", f"{question} Not asked.")
    chosen, on_all, on_other = _share(summary.n_chosen_on, summary.n_subjects), pairs["all"], pairs.get("other")
    tone, answer, said = _better(summary.title, _rival(on_all), on_all, chosen, on_other)
    lines = [said]
    if on_other:
        another = f", beside {_rival(on_other)}" * (on_other.second != on_all.second)
        lines.append(_never(summary.n_subjects - summary.n_tuning, on_other, another))
    if len(summary.seeds) > 1:
        lines.append(f"Its {len(summary.seeds)} seeds averaged reach {score.averaged.uf1:.3f}.")
    columns = zip(*score.confusion, strict=True)
    predicted = [name for name, column in zip(summary.classes, columns, strict=True) if any(column)]
    if len(predicted) == 1 < len(summary.classes) - len(score.classes_left_out):
        lines.append(f"It calls every clip {predicted[0]}.")
    return Text(" ".join(lines), tone, f"{question} {answer}")


def _rival(pair: Pair) -> str:
    return f"the better baseline ({BASELINE_TITLES[pair.second].removeprefix('baseline: ')})"


def _share(number: int, of: int) -> str:
    return f"{number} of these {plural(of, 'subject')}" if number else ""


def _never(number: int, on_other: Pair, beside: str = "") -> str:
    """What a pair shows on the subjects that had no part in choosing."""
    return f"On the {plural(number, 'subject')} that the search never scored{beside}: {on_other.numbers}."


def _better(found: str, other: str, pair: Pair, chosen: str, on_other: Pair | None) -> tuple[Tone, str, str]:
    """Whether the first of a pair is better: a tone, the answer, and what shows it. The first was `chosen` by the
    scores of some of the subjects, if any; `on_other` is the same pair on the others."""
    if pair.same:
        return "bad", "No.", f"{found} does NOT differ from {other}: the same confusion matrix for every subject."
    if pair.difference <= 0:
        worse = ("No, worse.", "WORSE") if pair.shown else ("No.", "NOT better")
        return "bad", worse[0], f"{found} is {worse[1]} than {other}: {pair.numbers}."
    if not pair.shown:
        return "unsure", "Not shown.", f"{found} is NOT shown to be better than {other}: {pair.numbers}."
    if not chosen or (on_other and on_other.shown and on_other.difference > 0):
        return "good", "Yes.", f"{found} is better than {other}: {pair.numbers}."
    said = f"{found} is better than {other}, but it was chosen by the scores of {chosen}: {pair.numbers}."
    return "unsure", "Not clearly.", said


def _against_start(summary: Summary) -> list[Text]:
    found = summary.comparison
    if found and found.start is not None:
        start = found.start if found.against_start else "the search's start"
        tone, answer, lines = _start(found)
        return [Text(" ".join(lines), tone, f"Better than {start}? {answer}")]
    said = "This page is without it: `mer-search confirm --trial NUMBER` compares a trial with it."
    searched = summary.n_chosen_on > 0
    return [Text(said, "unsure", "Better than the search's start? Not asked.")] if searched else []


def _leak(summary: Summary) -> Text:
    question, other = "Does the figure leak?", summary.rules["tail"].get("other")
    if summary.leaks:
        return Text("These networks were trained with the test person in sight.", "bad", f"{question} Yes.")
    if summary.is_leak_free("tail", "all"):
        said = NOT_CHOSEN if summary.given else "No choice was made by the test people's clips."
        return Text(f"{said} {gap(summary)}", "good", f"{question} No.")
    chosen = f"by the scores of {_share(summary.n_chosen_on, summary.n_subjects)}"
    alone = f" On the others, leak-free: UF1 {other.uf1:.3f} [{interval(other.ci95)}]." if other else ""
    said = f"No epoch was selected, but the configuration was chosen {chosen}.{alone} {gap(summary)}"
    return Text(said, "unsure", f"{question} In part.")


def gap(summary: Summary) -> str:
    """What the published rule would have added, in one line."""
    honest, leaking = summary.tail.uf1, summary.rules["best_test_epoch"]["all"].uf1
    tested = "database" if summary.left_out == "database" else "person"
    points = 100 * (leaking - honest)
    adds = f"would add {points:+.1f} points" if points >= 0 else "would not have helped here"
    return f"Picking the epoch on the test {tested} {adds} (UF1 {honest:.3f} -> {leaking:.3f})."


def comparison_lines(comparison: Comparison, trials: int = 1) -> list[str]:
    """What follows for the first network against each other one, the search's start last; the first `trials` networks
    are those that were to be confirmed."""
    lines = []
    for pair in comparison.pairs:
        if pair.second != comparison.start:
            lines += [f"{pair.conclusion}.", *_leaking(comparison, pair), *_on_other(comparison, pair)]
    if comparison.tuning and lines:
        some = _share(len(comparison.tuning), len(comparison.subjects))
        lines.append(f"Scores of {some} had a part in choosing: on them, what was chosen looks better than it is.")
    if trials > 1:
        lines.append(
            f"Choosing the best of {trials} by these figures is again a choice: the best of them "
            "looks better than it is. Only the first was chosen before."
        )
    return lines if comparison.start is None else [*lines, *_start(comparison)[2]]


def _leaking(comparison: Comparison, pair: Pair) -> list[str]:
    """Which network of a pair leaks, if only one does, so that the two cannot be set beside each other."""
    names = [each.name for each in comparison.networks if each.leaks and each.name in (pair.first, pair.second)]
    return [f"Only {names[0]} LEAKS, so that this tells nothing of which is better."] if len(names) == 1 else []


def _on_other(comparison: Comparison, pair: Pair) -> list[str]:
    on_other = comparison.on_other(pair)
    return [_never(len(comparison.other), on_other)] if on_other else []


def _start(comparison: Comparison) -> tuple[Tone, str, list[str]]:
    """Whether the search found something better than where it started: a tone, the answer, and what shows it."""
    start, pair = comparison.start, comparison.against_start
    if start is None or pair is None:
        return "bad", "No.", [f"The search found NOTHING better than where it started: {start} is where it started."]
    if leaking := _leaking(comparison, pair):
        return "unsure", "Cannot be told.", [*leaking, f"{pair.first} and {start}: {pair.numbers}."]
    chosen = _share(len(comparison.tuning), len(comparison.subjects))
    tone, answer, said = _better(pair.first, start, pair, chosen, comparison.on_other(pair))
    return tone, answer, [said, *_on_other(comparison, pair)]


def top_table(summaries: Sequence[Summary]) -> Table:
    """Confirmed networks, a row each, and the baselines."""
    first = summaries[0]
    scored: list[tuple[str, Mapping[str, Score], float | None]] = [
        *(
            (f"{each.title}{' (LEAKS)' * each.leaks}", each.rules["tail"], each.rules["best_test_epoch"]["all"].uf1)
            for each in summaries
        ),
        *((BASELINE_TITLES[name], groups, None) for name, groups in first.baselines.items()),
    ]
    rows = [
        (name, score.uf1, getattr(score, "sd", None), interval(score.ci95), other.uf1 if other else None, leaking)
        for name, groups, leaking in scored
        for score, other in [(groups["all"], groups.get("other"))]
    ]
    easier = ", which are easier, for it took the hardest" if first.other_are_easier else ""
    never = plural(first.n_subjects - first.n_tuning, "subject")
    of, chosen = "other: leak-free, on" if first.n_tuning else "Leak-free, for these are", ", no epoch selected"
    if any(each.leaks for each in summaries):
        of, chosen = "other: on" if first.n_tuning else "These are", ""
    sentences = [
        f"UF1, sd and 95 %: tail{chosen}; mean and deviation over seeds, for new people like these.",
        f"{of} the {never} that the search never scored{easier}." if first.n_tuning < first.n_subjects else "",
        "LEAKS: best test epoch, the rule of published figures.",
        not_counted(absent(first)),
    ]
    head, caption = ("network", "UF1", "sd", "95 % interval", "other", "LEAKS"), " ".join(filter(None, sentences))
    return Table(head, rows, caption, title=_asked(first)).without_empty()


def others_table(confirmed: Mapping[Path, Summary]) -> Table:
    """Confirmations of a study's trials on other data than the search's, or with other folds: folder -> summary."""
    rows = [
        (
            folder.name,
            f"{each.dataset}{', leave-one-database-out' * (each.left_out == 'database')}",
            title(each, "tail", "all"),
            each.n_subjects,
            each.tail.uf1,
            interval(each.tail.ci95),
            None if each.leaks else better_baseline(each, "all"),
        )
        for folder, each in confirmed.items()
    ]
    caption = (
        "Folders beside the other confirmations, with a page each; `predict` and `export` take them by --folder. "
        "UF1: mean over seeds. baseline: the better one's UF1 on the same subjects."
    )
    head = ("folder", "dataset", "estimate", "subjects", "UF1", "95 %", "baseline")
    return Table(head, rows, caption, left=3, title="Confirmed on other data, or with other folds")

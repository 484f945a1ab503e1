"""What networks say about clips, and what predictions score, for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from mer_search.confirmation.difficulty import Ranked
from mer_search.confirmation.score import AS_GIVEN, LogComparison, LogScore, ScoredLog
from mer_search.data.clips import Problem
from mer_search.evaluation.folds import EVERYBODY
from mer_search.inference.export import SCRIPT, Exported, script_refusal
from mer_search.inference.predict import ClipPrediction, Confirmed
from mer_search.report.document import Cell, Table
from mer_search.report.summaries import RULE_TITLES, comparison_lines
from mer_search.report.terminal import interval, not_counted, note, plural, say, show

TITLES = {  # of a log's rules
    "last": RULE_TITLES["last"],
    "best_test_epoch": RULE_TITLES["best_test_epoch"],
    "tail": "tail, seeds averaged",
    AS_GIVEN: "as the log has it",
}
NOT_KNOWN = (
    "The log does not say how the epochs of its predictions were chosen. If each subject's was chosen on that very "
    "subject, as much published code does, these figures LEAK. A log with a column `epoch`, a row for each clip and "
    "epoch, can be scored both ways."
)


def print_predictions(confirmed: Confirmed, predicted: Sequence[ClipPrediction | Problem]) -> None:
    """Each clip: what was taken, which networks were asked, the probabilities; an error where it cannot be used."""
    networks = plural(len(confirmed.summary.seeds), "network")
    _say_which(confirmed, f"{len(confirmed.subjects)} subjects in training, {networks} without each")
    if confirmed.summary.synthetic:
        say("They learned from synthetic clips: what they say of real faces means nothing.")
    for each in predicted:
        if isinstance(each, Problem):
            note(f"error: {each.clip}: {each.what}")
        else:
            _print_one(each)


def _say_which(confirmed: Confirmed, what: str) -> None:
    """Whose networks are used, how good they were, and which others there are."""
    found = confirmed.summary
    uf1 = f"{found.tail.uf1:.3f}" + f", {found.tail.averaged.uf1:.3f} with its seeds averaged" * (len(found.seeds) > 1)
    say(f"{found.title}, confirmed with UF1 {uf1}{' (LEAKS)' * found.leaks}: {found.dataset}, {what}")
    if confirmed.others:
        say(f"Also confirmed: {', '.join(confirmed.others)}; --trial takes another.")


def _print_one(one: ClipPrediction) -> None:
    found, facts = one.found, one.facts
    label = f"; annotated as {facts['annotated_as']}" if facts["annotated_as"] else ""
    if found.clip.is_flow:
        say(f"\n{found.name}: a flow image{label}")
    else:
        moments = ", ".join(f"{name} {facts[name]}" for name in ("onset", "apex", "offset") if facts[name] is not None)
        say(f"\n{found.name}: {moments}, {found.origin}{label}")
        say(f"Frames looked at: {' '.join(map(str, one.frames))}.")
    if len(one.networks) == 1:
        say(f"By the mean of the networks that never saw {one.networks[0]}, who was in the training of the others.")
    else:
        say("By the mean of all networks, as of somebody who was not in training; else say who it is with --subject.")
    rows = [(name, prob, "best" * (name == one.best)) for name, prob in facts["probabilities"].items()]
    show(Table(("class", "probability", ""), rows, strong=one.classes.index(one.best)))
    if one.action_units:
        units = sorted(one.action_units.items(), key=lambda item: -item[1])
        told = f"; annotated as {' '.join(found.clip.action_units)}" if found.clip.action_units else ""
        say(f"Action units after the first stage: {', '.join(f'{name} {prob:.2f}' for name, prob in units)}{told}.")


def print_exported(confirmed: Confirmed, written: Sequence[Exported]) -> None:
    """The files and how far they are from torch."""
    networks = plural(len(confirmed.summary.seeds), "network")
    _say_which(confirmed, f"the mean of {networks} a file as ONNX in {written[0].path.parent}")
    rows = [(each.path.name, f"{each.difference:.1e}", each.real) for each in written]
    show(Table(("file", "differs from torch by", "clips checked"), rows))
    if written[0].never_saw != EVERYBODY:
        say(
            "A file has the name of the person, or the database, that its networks never saw. Largest difference of a "
            "probability, on random motion and on a clip of those."
        )
        return
    say("Its networks learned from everybody and were not tested: its metadata say which figure is the estimate.")
    if refusal := script_refusal(confirmed):
        note(f"warning: {refusal}")
    else:
        say(f"On frames, without this package: python {written[0].path.with_name(SCRIPT)} FOLDER")


def print_evaluated(facts: Mapping[str, Any], name: str) -> None:
    """What networks from files scored (see `inference.evaluate`)."""
    rows = [tuple(each.values()) for each in facts["subjects"]]
    rows.append(("all", sum(each["clips"] for each in facts["subjects"]), facts["uf1"], facts["accuracy"]))
    head = ("subject", "clips", "macro F1", "accuracy")
    caption = (
        "all: UF1, counted over all subjects before F1 is taken, over the classes that have clips. A subject's F1 is "
        "over the classes that it has or is given."
    )
    title = f"{name} from files: {facts['dataset']}, {plural(len(facts['subjects']), 'subject')}"
    show(Table(head, rows, caption, strong=len(rows) - 1, title=title))
    said = f"UF1 {facts['uf1']:.4f}, 95 % {interval(facts['ci95'])}, UAR {facts['uar']:.4f}."
    say(f"{said} {not_counted(facts['not_counted'])}".strip())
    if facts["missing"]:
        say(f"There are no weights for {', '.join(facts['missing'])}: UF1 is without them.")
    if facts["leaks"]:
        say(
            "These networks, or their epochs, were chosen by the very person they are tested on here (LEAKS), as "
            "published ones are: compare their figures with others under that rule alone."
        )


def print_logs(scored: Sequence[ScoredLog], compared: LogComparison | None) -> None:
    """What a log scores, class by class and subject by subject; of two what each scores in all, and the first against
    the second."""
    for each in scored:
        subjects = next(iter(each.rules.values())).subjects
        own = f", the mean of {plural(each.seeds, 'seed')}" if each.seeds else ""
        own += f"; a search that scored {', '.join(each.tuning)} chose the network" if each.tuning else ""
        say(f"{each.name}: {plural(each.n_clips, 'clip')} of {plural(len(subjects), 'subject')}{own}")
        called = {_called(each, rule): it for rule, it in each.rules.items()}
        if each.other:
            title = "the same (LEAKS)" if each.other.leaks else "the same, leak-free"
            called[f"{title}: {plural(len(each.other.subjects), 'other subject')}"] = each.other
        rows = [(title, it.uf1, interval(it.ci95), it.uar, it.accuracy) for title, it in called.items()]
        show(Table(("estimate", "UF1", "95 %", "UAR", "accuracy"), rows))
        if not compared:
            _print_details(each)
    if compared:
        _print_comparison(compared, *scored)


def _called(scored: ScoredLog, rule: str) -> str:
    """A rule, and what was chosen by the test person; nothing of that where it is not known."""
    honest = ", leak-free" if scored.seeds and not scored.tuning else ", no epoch selected"
    return TITLES[rule] + {True: " (LEAKS)", False: honest, None: ""}[scored.rules[rule].leaks]


def _print_details(scored: ScoredLog) -> None:
    (rule, first), *others = scored.rules.items()
    leaking = others[0][1] if others else None
    by_class: list[Sequence[Cell]] = []
    for name, counts in zip(scored.classes, first.confusion, strict=True):
        shares = (f"{count} ({count / max(1, sum(counts)):.0%})" for count in counts)
        by_class.append((f"{name} {scored.names.get(name, '')}".strip(), *shares, sum(counts)))
    caption = f"{_called(scored, rule)}: clips, and their share of the row's."
    show(Table(("truth \\ predicted", *scored.classes, "clips"), by_class, caption))
    show(_subject_table(first, leaking))
    say(
        "UF1 is the mean over classes of 2TP / (2TP + FP + FN), counted over all subjects; a subject's F1 is over the "
        "classes that occur or are predicted there. 95 %: for new people like these."
    )
    if never := [str(name) for name, *_, clips in by_class if not clips]:
        say(f"No clip is {' or '.join(never)}: that does not count as a class, and taking a clip for it is an error.")
    if not leaking:
        say(NOT_KNOWN if first.leaks is None else "By the rule of the confirmation beside which the log lies.")
        return
    say(
        f"Last epoch: {scored.epochs[-1]} for each subject. Best test epoch LEAKS: of {len(scored.epochs)} epochs it "
        "takes for each subject the one with the best F1 on that very subject, then the best accuracy, then the "
        f"earliest. That alone adds {100 * (leaking.uf1 - first.uf1):+.1f} points ({first.uf1:.3f} -> "
        f"{leaking.uf1:.3f}): compare it only with figures under the same rule."
    )


def _subject_table(score: LogScore, leaking: LogScore | None) -> Table:
    head = ["subject", "clips", "right", "F1"]
    rows: list[Sequence[Cell]] = [(each.subject, each.n_clips, each.n_correct, each.f1) for each in score.subjects]
    if leaking:
        head += ["best epoch", "right (LEAKS)", "F1 (LEAKS)"]
        best = [(each.epoch, each.n_correct, each.f1) for each in leaking.subjects]
        rows = [(*row, *added) for row, added in zip(rows, best, strict=True)]
    return Table(head, rows)


def _print_comparison(compared: LogComparison, first: ScoredLog, second: ScoredLog) -> None:
    found, (one, other), names = compared.found, compared.not_shared, first.names | second.names
    absent = (f"{name} {names.get(name, '')}".strip() for name in found.not_counted)
    say(
        f"In pairs, on {plural(compared.n_shared, 'shared clip')} of {plural(len(found.subjects), 'subject')}; not "
        f"shared: {plural(one, 'clip')} of {first.name}, {other} of {second.name}."
    )
    for line in comparison_lines(found):
        say(line)
    say(
        "Over the shared clips and their classes, so UF1 may differ from that above. Of a log with epochs, the last "
        f"one. p: the two exchanged subject by subject. {not_counted(absent)}".strip()
    )
    if unknown := [each.name for each in (first, second) if AS_GIVEN in each.rules]:
        say(
            f"How the epochs of {' and '.join(unknown)} were chosen is not known: a choice on the test person would "
            "be part of the difference."
        )


def subjects_table(rows: Sequence[Ranked], title: str) -> Table:
    """Subjects, the hardest first."""
    cells = [(row.subject, row.clips, row.log_loss, f"{row.total:.2f}", f"{row.errors:.1%}") for row in rows]
    caption = (
        "log-loss: under the tail rule, mean over seeds, of a clip; sum: of all its clips, by which subjects are "
        "ranked. errors: share of all subjects' errors."
    )
    return Table(("subject", "clips", "log-loss", "sum", "errors"), cells, caption, title=title)

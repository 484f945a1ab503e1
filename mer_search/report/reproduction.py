"""The published table beside what was trained anew: rows of networks, of hard subjects, of decisions, of deviations."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from mer_search.config import Value
from mer_search.confirmation.reproduce import Decision, Reproduced
from mer_search.files import write_whole
from mer_search.presets import PUBLISHED_BY_SUBJECT, PUBLISHED_MARK
from mer_search.report.document import Document, Section, Table, Text, decimals, write_document
from mer_search.report.summaries import better_baseline, lead
from mer_search.report.terminal import interval, plural, say, show

RULES = (
    "tail: UF1, no epoch selected, but for V6, whose first stage's epoch was chosen on the test person (LEAKS). "
    "published: macro F1 as published on CASME II, 5 classes. same rule: best test epoch, which LEAKS. sd: over "
    "seeds. baseline: the better one's UF1 on the same subjects."
)


def networks_table(found: Sequence[Reproduced]) -> Table:
    """Each network: what was published, the same rule here, and ours."""
    rows = []
    for each in found:
        same, ours = (each.summary.rules[rule]["all"] for rule in ("best_test_epoch", "tail"))
        tail = f"{ours.uf1:.3f}{' (LEAKS)' * each.summary.leaks}"
        published = (decimals(each.published, 4), f"{same.uf1:.4f}", same.sd)
        baseline = None if each.summary.leaks else better_baseline(each.summary, "all")
        rows.append((each.name, tail, ours.sd, interval(ours.ci95), *published, baseline))
    head = ("network", "tail", "sd", "95 %", "published", "same rule", "sd", "baseline")
    first = found[0].summary
    counted = f"{first.n_subjects} subjects, {first.n_clips} clips, {plural(len(first.seeds), 'seed')}"
    title = f"As published: {first.dataset}, {counted}"
    return Table(head, rows, RULES, title=title).without_empty()


def mark(found: Sequence[Reproduced]) -> str:
    """Whether the best network reaches the published mark, under its rule, in a sentence."""
    best = max(found, key=lambda each: each.f1)
    said = f"{best.title} has {best.f1:.4f} under the published rule"
    if not best.comparable:
        return (
            f"{said}. That cannot be set beside the mark of {PUBLISHED_MARK}, nor any figure here beside a published "
            "one: those are of all subjects of CASME II, in 5 classes."
        )
    side = "reaches" if best.f1 >= PUBLISHED_MARK else "does NOT reach"
    return f"{said}, which {side} the mark of {PUBLISHED_MARK}."


def subjects_table(found: Sequence[Reproduced]) -> Table | None:
    """The hard subjects of whom F1 was published: published, and here; None if there is none."""
    there = [each for each in found if each.name in PUBLISHED_BY_SUBJECT]
    rows = []
    for subject in dict.fromkeys(subject for each in there for subject in PUBLISHED_BY_SUBJECT[each.name]):
        if any(subject in each.subjects for each in there):
            pairs = [(PUBLISHED_BY_SUBJECT[each.name].get(subject), each.subjects.get(subject)) for each in there]
            rows.append((subject, *(f1 for pair in pairs for f1 in pair)))
    head = ("subject", *(cell for each in there for cell in (f"{each.name} published", "here")))
    caption = "Macro F1 of a subject alone, over its own classes, at its best test epoch (LEAKS)."
    return Table(head, rows, caption) if rows else None


def decision_table(decisions: Sequence[Decision]) -> Table | None:
    """The specification's way to the best version; None if none of its steps could be taken."""
    rows = [
        (
            each.step.name,
            each.step.subjects,
            ", ".join(f"{name} {score:.4f}" for name, score in each.scores.items()) or "nothing to compare",
            each.winner,
        )
        for each in decisions
    ]
    caption = (
        "Macro F1 under the published rule (LEAKS); of equals the first. `mer-search compare --plan decision` does the "
        "same under ours, and says whether a difference is shown."
    )
    return Table(("step", "subjects", "compared", "winner"), rows, caption, left=4) if rows else None


def deviations_table(found: Sequence[Reproduced]) -> Table:
    """A network as published, and what each deviation of this tool is worth."""
    whole = found[0]
    rows = []
    for each in found:
        tail, known = each.summary.tail.uf1, each is whole
        same, ours = ("" if known else f"{by:+.4f}" for by in (each.f1 - whole.f1, tail - whole.summary.tail.uf1))
        rows.append((each.title, f"{each.f1:.4f}", same, f"{tail:.4f}", ours))
    caption = (
        "One deviation at a time, all else as published; same rule: best test epoch (LEAKS). docs/parity.md says what "
        f"each is. {plural(len(whole.summary.seeds), 'seed')}: a difference below the spread over seeds is none."
    )
    return Table(("network", "same rule", "difference", "tail", "difference"), rows, caption)


def deviation_sections(found: Sequence[Reproduced]) -> list[Section]:
    """What is shown after `mer-search reproduce --deviations`."""
    return [Section("What each deviation is worth", [deviations_table(found)])]


def network_sections(found: Sequence[Reproduced], decisions: Sequence[Decision]) -> list[Section]:
    """What is shown after `mer-search reproduce`."""
    tables = {"Hard subjects": subjects_table(found), "Which version is the best?": decision_table(decisions)}
    first = Section("Networks", [networks_table(found), Text(mark(found))])
    return [first, *(Section(title, [table]) for title, table in tables.items() if table)]


def print_sections(sections: Sequence[Section]) -> None:
    """Their tables and sentences, for the terminal."""
    for block in (block for section in sections for block in section.blocks):
        if isinstance(block, Table):
            show(block)
        elif isinstance(block, Text):
            say(block.text)


def facts(found: Sequence[Reproduced]) -> str:
    """The networks as one JSON document."""
    rows = [
        {"name": each.name, "title": each.title, "published_f1": each.published, "f1_by_subject": each.subjects}
        | {"summary": each.summary.model_dump()}
        for each in found
    ]
    return json.dumps(rows, indent=1)


def write_page(
    folder: Path, found: Sequence[Reproduced], values: Mapping[str, Value], sections: Sequence[Section]
) -> Path:
    """report.html, the same as report.md, and networks.json in a folder; `values` are those not as published."""
    first = found[0].summary
    counted, seeds = f"{first.n_clips} clips, {first.n_subjects} subjects", ", ".join(map(str, first.seeds))
    blocks = lead(first.synthetic, Text(f"{first.dataset}: {counted}; {first.protocol}; seeds {seeds}."))
    if values:
        set_here = ", ".join(f"{path} = {value}" for path, value in values.items())
        blocks.append(Text(f"Not as published, but set so: {set_here}.", "unsure"))
    write_whole(folder / "networks.json", facts(found))
    return write_document(Document("As published", blocks, sections), folder / "report.html")

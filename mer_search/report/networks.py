"""Tables of networks that have a name: what they cost, how they do against each other and their published figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mer_search.config import Value, with_values
from mer_search.confirmation.plans import Step
from mer_search.confirmation.reproduce import Decision, Reproduced
from mer_search.confirmation.summary import Comparison, NetworkScore
from mer_search.files import write_whole
from mer_search.model.flops import cost
from mer_search.presets import PRESETS, PUBLIC, PUBLISHED_BY_SUBJECT, PUBLISHED_MARK, preset
from mer_search.report.document import Cell, Document, Section, Table, Text, decimals, write_document
from mer_search.report.summaries import better_baseline, changes_lines, comparison_lines, lead
from mer_search.report.terminal import interval, not_counted, plural, say, show

RULES = (
    "tail: UF1, no epoch selected, but for V6, whose first stage's epoch was chosen on the test person (LEAKS). "
    "published: macro F1 as published on CASME II, 5 classes. same rule: best test epoch, which LEAKS. sd: over "
    "seeds. baseline: the better one's UF1 on the same subjects."
)


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
    rows = []
    for name, public in PUBLIC.items():
        parameters, flop = cost(with_values(preset(name), public.values))
        same_flop = public.gflop in (None, float(f"{flop / 1e9:.4g}"))  # which were noted with four digits
        row = {
            "name": name,
            "with": dict(public.values),
            "parameters": parameters,
            "public_parameters": public.parameters,
            "gflop": flop / 1e9,
            "public_gflop": public.gflop,
            "equal": parameters == public.parameters and same_flop,
        }
        rows.append(row)
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
    chosen = "" if any(each.leaks for each in met) else ", no epoch selected"
    say(
        f"UF1 (tail{chosen}) and sd: mean and deviation over seeds. 95 %: for new people like these. p: "
        "networks exchanged subject by subject; of several pairs, corrected for their number (Holm). "
        f"{not_counted(comparison.not_counted)}".strip()
    )
    for line in comparison_lines(comparison):
        say(line)
    if step.name:
        say(f"{step.name}: {comparison.winner}{'' if comparison.winner_shown else ' (not shown)'}\n")


def network_table(networks: Sequence[NetworkScore]) -> Table:
    """Compared networks, a row each."""
    rows = [(each.title, each.uf1, each.sd, interval(each.ci95)) for each in networks]
    return Table(("network", "UF1", "sd", "95 % interval"), rows)


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
    """The hard subjects with a published F1: published, and here; None if there is none."""
    there = [each for each in found if each.name in PUBLISHED_BY_SUBJECT]
    rows = []
    for subject in dict.fromkeys(subject for each in there for subject in PUBLISHED_BY_SUBJECT[each.name]):
        if any(subject in each.subjects for each in there):
            pairs = [(PUBLISHED_BY_SUBJECT[each.name].get(subject), each.subjects.get(subject)) for each in there]
            rows.append((subject, *(f1 for pair in pairs for f1 in pair)))
    head = ("subject", *(cell for each in there for cell in (f"{each.name} published", "here")))
    caption = "Macro F1 of a subject alone, over the classes that it has or is given, at its best test epoch (LEAKS)."
    return Table(head, rows, caption) if rows else None


def decision_table(decisions: Sequence[Decision]) -> Table | None:
    """The specification's way to the best version; None if none of its steps could be taken."""
    rows = []
    for each in decisions:
        met = ", ".join(f"{name} {score:.4f}" for name, score in each.scores.items()) or "nothing to compare"
        rows.append((each.step.name, each.step.subjects, met, each.winner))
    caption = (
        "Macro F1 under the published rule (LEAKS); of equals the first. `mer-search compare --plan decision` does the "
        "same under ours, and says whether a difference is shown."
    )
    return Table(("step", "subjects", "compared", "winner"), rows, caption, left=4) if rows else None


def deviation_sections(found: Sequence[Reproduced]) -> list[Section]:
    """What is shown after `mer-search reproduce --deviations`: a network as published, and what each deviation of this
    tool is worth."""
    whole, tail = found[0], found[0].summary.tail.uf1
    rows = [(whole.title, f"{whole.f1:.4f}", "", f"{tail:.4f}", "")]
    for each in found[1:]:
        own = each.summary.tail.uf1
        rows.append((each.title, f"{each.f1:.4f}", f"{each.f1 - whole.f1:+.4f}", f"{own:.4f}", f"{own - tail:+.4f}"))
    caption = (
        "One deviation at a time, all else as published; same rule: best test epoch (LEAKS). docs/parity.md says what "
        f"each is. {plural(len(whole.summary.seeds), 'seed')}: a difference below the spread over seeds is none."
    )
    table = Table(("network", "same rule", "difference", "tail", "difference"), rows, caption)
    return [Section("What each deviation is worth", [table])]


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


def reproduced_json(found: Sequence[Reproduced]) -> str:
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
    write_whole(folder / "networks.json", reproduced_json(found))
    return write_document(Document("As published", blocks, sections), folder / "report.html")

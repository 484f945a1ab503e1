"""What is said of a dataset: its clips, and what is wrong with them."""

from mer_search.data.check import Report
from mer_search.data.clips import counts
from mer_search.report.terminal import note, out, plain_table, say, show
from mer_search.search.workspace import Loaded


def print_check(report: Report) -> None:
    """A dataset's clips per subject and class, and its problems."""
    facts = report.facts
    say(f"{facts['dataset']}: {facts['n_clips']} clips, {facts['n_subjects']} subjects, checksum {facts['checksum']}")
    table = plain_table("subject", *facts["classes"], "all")
    for subject, row in facts["clips"].items():
        table.add_row(subject, *(str(count or "") for count in row), str(sum(row)))
    totals = [sum(column) for column in zip(*facts["clips"].values(), strict=True)]
    table.add_section()
    table.add_row("all", *map(str, totals), str(sum(totals)))
    show(table)
    if outside := facts["outside_the_task"]:
        say(f"not in this task: {', '.join(f'{count} {emotion}' for emotion, count in outside.items())}")
    say(f"action units are known of {facts['n_with_action_units']} clips")
    for problem in sorted(report.problems, key=lambda problem: problem.clip):
        out.print(f"- {problem}")
    count = len(report.problems)
    say("no problems" if not count else f"{count} problem{'s' if count > 1 else ''}")
    if not report.usable:
        say("A run cannot use this: it needs clips of two subjects and two classes at least.")


def print_data(loaded: Loaded) -> None:
    """Which clips are used, what was left out, and a plain word if they are synthetic."""
    counted = counts(loaded.clips, loaded.run.data.classes)
    totals = [sum(column) for column in zip(*counted.values(), strict=True)]
    classes = ", ".join(f"{total} {name}" for total, name in zip(totals, loaded.run.data.classes, strict=True))
    note(
        f"data: {loaded.folder.title}, {len(loaded.clips)} clips ({classes}), {len(counted)} subjects, "
        f"checksum {loaded.run.data.checksum}"
    )
    for problem in loaded.problems:
        note(f"  {problem}")

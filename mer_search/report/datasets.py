"""What is said of a dataset: its clips, and what is wrong with them."""

import shlex

from mer_search.data import Folder
from mer_search.data.check import facts_of
from mer_search.data.clips import counts
from mer_search.report import figures
from mer_search.report.document import Table
from mer_search.report.terminal import note, out, plural, say, show
from mer_search.search.workspace import Loaded


def print_check(folder: Folder) -> None:
    """A dataset's clips per subject and class, and its problems."""
    facts = facts_of(folder)
    say(f"{facts['dataset']}: {facts['n_clips']} clips, {facts['n_subjects']} subjects, checksum {facts['checksum']}")
    if facts["annotation"]:
        say(f"annotation: {facts['annotation']}")
    rows = [(subject, *(count or None for count in row), sum(row)) for subject, row in facts["clips"].items()]
    totals = [sum(column) for column in zip(*facts["clips"].values(), strict=True)]
    show(Table(("subject", *facts["classes"], "all"), [*rows, ("all", *totals, sum(totals))], strong=len(rows)))
    for name, kinds in facts["emotions_of_classes"].items():
        made = "; ".join(f"{kind} = {', '.join(some) or 'none'}" for kind, some in kinds.items())
        say(f"classes of {name}: {made}")
    if outside := facts["outside_the_task"]:
        say(f"not in this task: {', '.join(f'{count} {emotion}' for emotion, count in outside.items())}")
    if not folder.dataset.flow_images:
        say(f"action units are known of {facts['n_with_action_units']} clips")
    if few := facts["n_of_three_frames"]:
        say(f"of {few} clips only the onset, apex and offset frames are there: enough for frames.maps 1 or 2")
    for problem in sorted(folder.problems, key=lambda problem: problem.clip):
        out.print(f"- {problem}")
    say(plural(len(folder.problems), "problem") if folder.problems else "no problems")
    if facts["usable"]:
        task = f" --task {folder.other_task}" if folder.other_task else ""
        out.print(f"next: mer-search run --data {shlex.quote(facts['path'])}{task}")
    else:
        say("A run cannot use this: it needs clips of two subjects and two classes at least.")


def picture(folder: Folder) -> bytes:
    """A dataset at a look, as PNG."""
    films = [clip for clip in folder.clips if not clip.is_flow]
    drawing = figures.clips(
        counts(folder.clips, folder.classes),
        folder.classes,
        [clip.offset - clip.onset + 1 for clip in films],
        [(clip.apex - clip.onset) / max(clip.offset - clip.onset, 1) for clip in films if clip.apex is not None],
    )
    return drawing("png")


def print_data(loaded: Loaded) -> None:
    """Which clips are used, what was left out, and a plain word if they are synthetic."""
    counted = counts(loaded.clips, loaded.run.data.classes)
    totals = [sum(column) for column in zip(*counted.values(), strict=True)]
    classes = ", ".join(f"{total} {name}" for total, name in zip(totals, loaded.run.data.classes, strict=True))
    note(
        f"data: {loaded.folder.title}, {len(loaded.clips)} clips ({classes}), {len(counted)} subjects, "
        f"checksum {loaded.run.data.checksum}"
    )
    if (done := sum(clip.processed for clip in loaded.clips)) and len(loaded.clips[0].frames) > 1:
        note(f"  denoised and masked already are the frames of {plural(done, 'clip')}, whatever prep.mask says")
    for problem in loaded.problems:
        note(f"  {problem}")

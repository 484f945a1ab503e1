"""What `mer-search data check` finds out about a folder."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mer_search.data import DATASETS, Folder
from mer_search.data.clips import checksum, counts, enough
from mer_search.data.prepare import check_sizes
from mer_search.data.threads import each_clip


def check_folder(folder: Folder, on_clip: Callable[[int, int], None]) -> Folder:
    """The folder without the clips that cannot be used, after every image of every clip was decoded."""
    clips, _, problems = each_clip(lambda clip, read: check_sizes(map(read, clip.frames)), folder.clips, on_clip)
    return replace(folder, clips=tuple(clips), problems=(*folder.problems, *problems))


def facts_of(folder: Folder) -> dict[str, Any]:
    """What is known of a folder, as one JSON document."""
    clips = folder.clips
    return {
        "path": str(folder.path),
        "dataset": folder.title,
        "task": folder.task,
        "annotation": folder.source,
        "synthetic": folder.synthetic,
        "n_clips": len(clips),
        "n_subjects": len(folder.subjects),
        "checksum": checksum(clips),
        "classes": list(folder.classes),
        "emotions_of_classes": _emotions(folder),
        "clips": counts(clips, folder.classes),
        "outside_the_task": folder.outside,
        "n_of_three_frames": sum(bool(clip.numbers) for clip in clips),
        "n_with_action_units": sum(bool(clip.action_units) and "?" not in clip.action_units for clip in clips),
        "usable": enough(clips),
        "subjects_without_clips": folder.subjects_without_clips,
        "problems": [{"clip": each.clip, "what": each.what, "usable": each.usable} for each in folder.problems],
    }


def _emotions(folder: Folder) -> dict[str, dict[str, list[str]]]:
    """Database -> class of the task -> what it is made of, where that has other names."""
    found = {}
    for name in sorted({clip.dataset for clip in folder.clips}):
        table = DATASETS[name].tasks[folder.task].table
        kinds = {kind: [each for each in table if table[each] == kind] for kind in folder.classes}
        if any([kind.lower()] != [each.lower() for each in some] for kind, some in kinds.items()):
            found[name] = kinds
    return found

"""What `mer-search data check` finds out about a folder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mer_search.data import Folder
from mer_search.data.clips import Clip, Problem, checksum, counts, enough, subjects
from mer_search.data.images import reader
from mer_search.data.prepare import check_sizes, size_of
from mer_search.data.threads import Check, in_threads
from mer_search.errors import DataError


@dataclass(frozen=True)
class Report:
    """A folder's usable clips and everything that is wrong with it."""

    folder: Folder
    clips: tuple[Clip, ...]  # usable
    problems: tuple[Problem, ...]

    @property
    def usable(self) -> bool:
        """Whether a run can use the data: two subjects at least, and two classes."""
        return enough(self.clips)

    @property
    def facts(self) -> dict[str, Any]:
        """The report as one JSON document."""
        return {
            "path": str(self.folder.path),
            "dataset": self.folder.title,
            "task": self.folder.task,
            "annotation": self.folder.source,
            "synthetic": self.folder.synthetic,
            "n_clips": len(self.clips),
            "n_subjects": len(subjects(self.clips)),
            "checksum": checksum(self.clips),
            "classes": list(self.folder.classes),
            "emotions_of_classes": self.folder.emotions,
            "clips": counts(self.clips, self.folder.classes),
            "outside_the_task": self.folder.outside,
            "n_of_three_frames": sum(bool(c.numbers) for c in self.clips),
            "n_with_action_units": sum(bool(c.action_units) and "?" not in c.action_units for c in self.clips),
            "usable": self.usable,
            "problems": [{"clip": p.clip, "what": p.what, "usable": p.usable} for p in self.problems],
        }


def check_folder(folder: Folder, on_clip: Callable[[int, int], None]) -> Report:
    """Decode every image of every clip; a clip with an unreadable one is not usable."""
    found = in_threads(_unreadable, folder.clips, on_clip)
    clips = tuple(clip for clip, problem in zip(folder.clips, found, strict=True) if problem is None)
    return Report(folder, clips, (*folder.problems, *(problem for problem in found if problem)))


def _unreadable(clip: Clip, check: Check) -> Problem | None:
    try:
        check_sizes(map(size_of, map(reader(check), clip.frames)))
    except (DataError, OSError) as error:
        return Problem(clip.id, str(error))
    return None

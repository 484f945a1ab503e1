"""Frames as their motion is measured, denoised and masked, written to disk as a dataset of their own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2

from mer_search.config import Prep
from mer_search.data import Folder
from mer_search.data.clips import Clip
from mer_search.data.images import reader
from mer_search.data.prepare import prepared
from mer_search.data.readers.annotation import PROCESSED, tables
from mer_search.data.threads import Check, in_threads
from mer_search.errors import DataError, UsageError
from mer_search.files import whole_folder


def export_frames(folder: Folder, prep: Prep, out: Path, told: Callable[[int, int], None]) -> tuple[int, list[str]]:
    """Write `OUT/denoised_masked/sub05/EP02_01f/md_img46.png` for every frame of every clip, and the annotation beside
    it; PNG, so that nothing is lost. Read as a dataset, the folder gives the motion that the clips have themselves.
    `told` is called with (done, total) whenever clips are done.

    Returns:
        how many frames were written, and what is wrong with clips that were left out.

    Raises:
        UsageError: for flow images, or an `out` that is not empty, or in the data's folder.
        DataError: if no clip can be used.
    """
    if folder.dataset.flow_images:
        raise UsageError("frames are exported of clips that have frames, but these are flow images")
    if out.resolve().is_relative_to(folder.path.resolve()):
        raise UsageError(
            f"{out} must lie outside the data's folder, whose frames it would take the place of; name another folder"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} must be a new or empty folder, but something is there; remove it or name another")
    with whole_folder(out.absolute()) as building:
        for path in (*folder.path.glob("*.json"), *reversed(tables(folder.path))):  # of one name the first stays
            shutil.copy(path, building / path.name)
        written = in_threads(lambda clip, check: _write(building / PROCESSED, clip, prep, check), folder.clips, told)
        if not any(isinstance(each, int) for each in written):
            raise DataError(
                f"frames must be written of some clips, but none of {len(written)} can be used; {written[0]}"
            )
    return sum(each for each in written if isinstance(each, int)), [each for each in written if isinstance(each, str)]


def _write(root: Path, clip: Clip, prep: Prep, check: Check) -> int | str:
    """How many frames were written; what is wrong with the clip, if it cannot be used."""
    try:
        images = prepared(clip, range(clip.onset, clip.onset + len(clip.frames)), prep, reader(check))
    except DataError as error:
        return f"{clip.id}: {error}"
    target = root / clip.subject / clip.name
    target.mkdir(parents=True)
    for number, image in images.items():
        (target / f"md_img{clip.annotated(number)}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return len(images)

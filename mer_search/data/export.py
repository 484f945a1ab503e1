"""Frames as their motion is measured, denoised and masked, written to disk as a dataset of their own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2

from mer_search.config import Prep
from mer_search.data import Folder
from mer_search.data.clips import Clip
from mer_search.data.prepare import Read, prepared
from mer_search.data.readers.annotation import PROCESSED, tables
from mer_search.data.threads import each_clip
from mer_search.errors import DataError, UsageError
from mer_search.files import make_folder, whole_folder


def export_frames(folder: Folder, prep: Prep, out: Path, told: Callable[[int, int], None]) -> tuple[int, list[str]]:
    """Write `OUT/denoised_masked/sub05/EP02_01f/md_img46.png` for every frame of every clip, and the annotation beside
    it; PNG, so that nothing is lost. Read as a dataset, the folder gives the motion that the clips have themselves.

    Returns:
        how many frames were written, and what is wrong with clips that were left out.
    """
    if folder.dataset.flow_images:
        raise UsageError("frames are exported of clips that have frames, but these are flow images")
    if len({clip.dataset for clip in folder.clips}) > 1:
        raise UsageError(f"frames are exported of one dataset, but {folder.path} holds several; give each one's folder")
    if out.resolve().is_relative_to(folder.path.resolve()):
        raise UsageError(
            f"{out} must lie outside the data's folder, whose frames it would take the place of; name another folder"
        )

    def write(clip: Clip, read: Read) -> int:
        images = prepared(clip, range(clip.onset, clip.onset + len(clip.frames)), prep, read)
        target = building / PROCESSED / clip.subject / clip.name
        make_folder(target)
        for number, image in images.items():
            (target / f"md_img{clip.annotated(number)}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        return len(images)

    with whole_folder(out.absolute()) as building:
        for path in (*folder.path.glob("*.json"), *reversed(tables(folder.path))):  # of one name the first stays
            shutil.copy(path, building / path.name)
        _, written, problems = each_clip(write, folder.clips, told)
        wrong = [f"{problem.clip}: {problem.what}" for problem in problems]
        if not written:
            raise DataError(f"frames must be written of some clips, but none of {len(wrong)} can be used; {wrong[0]}")
    return sum(written), wrong

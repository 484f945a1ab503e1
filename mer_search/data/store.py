"""A content-addressed store of motion: raw flow in half precision, one file a clip.

A clip's file is named by everything that determines it: the bytes of the frames that it is made of, with the
neighbours that denoising looks at, the frame numbers, the landmarks where they make the mask, and the Frames, Prep and
Flow configuration. So a changed setting or image never reads stale flow, and processes that build at once write the
same bytes to the same name (whole or not at all). A file that is truncated, damaged or somebody else's is found out
when it is read, and is rebuilt.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from mer_search.config import Run, digest
from mer_search.data.clips import Clip, Problem
from mer_search.data.flow import Measured, frame_sets, measure, with_copies
from mer_search.data.masks import BY_LANDMARKS, landmark_file, onset_row
from mer_search.data.prepare import Read, in_force, neighbours
from mer_search.data.threads import each_clip
from mer_search.errors import DataError, DiskError
from mer_search.files import content_of, sweep, write_whole

CHECKSUM = 32  # bytes of SHA-256 before the npz archive
# numpy reads headers with ast, which before Python 3.11.8 is not safe in several threads (a SystemError, now and then).
PARSING = Lock()
NAMED = 50  # letters of a clip's name in its file's, which may have 255 bytes
VERSION = 1  # raise it when `measure` gives other values for the same configuration


@dataclass(frozen=True)
class Motion:
    """The motion of N clips. Shapes: S frame sets of all clips, T maps, P components (u, v or u, v, o), H W pixels."""

    flow: NDArray[np.float16]  # (S, T, P, H, W), pixels of the flow's own size
    onset: NDArray[np.uint8] | None  # (S, 3, H, W) RGB; None for flow images
    first: NDArray[np.int64]  # (N,) a clip's first frame set, the one without jitter
    count: NDArray[np.int64]  # (N,) how many frame sets it has, or that one and its cropped copies
    digest: str = ""  # of what it was measured from and how: frames' pixels, their choice, preparation and flow


def load(
    clips: Sequence[Clip], run: Run, root: Path, on_clip: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Clip], Motion, list[Problem]]:
    """The clips that can be used, their motion, and what is wrong with the others; builds what the store lacks.

    Raises:
        DataError: if no clip can be used, or the store cannot be written.
    """
    folder = root / digest(*run.motion)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        used, found, problems = each_clip(lambda clip, read: _one(clip, run, folder, read), clips, on_clip)
    except (OSError, DiskError) as error:
        raise DataError(
            f"the flow store {folder} must be writable, but is not ({error.__cause__ or error}); "
            "free some space or set XDG_CACHE_HOME to another folder"
        ) from error
    if not used:
        first = f"none of {len(clips)} can be used; the first: {problems[0]}" if problems else "the data has none"
        raise DataError(f"a run needs clips, but {first}")
    count = np.array([len(item.flow) for _, item in found], dtype=np.int64)
    onsets = [item.onset for _, item in found if item.onset is not None]
    motion = Motion(
        np.concatenate([item.flow for _, item in found]),
        np.concatenate(onsets) if onsets else None,
        np.cumsum(count) - count,
        count,
        _sha256(" ".join(key for key, _ in found).encode())[:16],
    )
    return used, motion, problems


def _one(clip: Clip, run: Run, folder: Path, read: Read) -> tuple[str, Measured]:
    """A clip's key and its motion, out of the store, or measured and stored."""
    sets = frame_sets(clip, run.frames)
    key = _key(clip, sets, run)
    path = folder / f"{f'{clip.subject}_{clip.name}'[:NAMED]}_{key}.motion"
    stored = _read(path, key)
    if stored is None:
        stored = (with_copies if run.frames.crops else measure)(clip, sets, run, read)
        _write(path, key, stored)
    return key, stored


def _key(clip: Clip, sets: Sequence[Sequence[int]], run: Run) -> str:
    """What the clip's motion depends on, as 20 hexadecimal digits."""
    prep = in_force(clip, run.prep)
    mask = [_sha256(landmark_file(clip)), onset_row(clip)] if prep.mask in BY_LANDMARKS else []
    facts = [VERSION, clip.dataset, clip.processed, mask, sets, digest(*run.motion)]
    numbers = {number for frame_set in sets for number in frame_set}
    places = sorted({place for number in numbers for place in neighbours(clip, number, prep)})
    facts += [_sha256(content_of(clip.frames[place])) for place in places]
    return _sha256(json.dumps(facts).encode())[:20]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path, key: str) -> Measured | None:
    """The motion in a file; None if it is absent, not as it was written, or another clip's."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    checksum, arrays = content[:CHECKSUM], content[CHECKSUM:]
    if hashlib.sha256(arrays).digest() != checksum:
        return None
    with PARSING, np.load(io.BytesIO(arrays), allow_pickle=False) as stored:
        if str(stored["key"]) != key:
            return None
        return Measured(stored["flow"], stored["onset"] if "onset" in stored.files else None)


def _write(path: Path, key: str, item: Measured) -> None:
    buffer = io.BytesIO()
    onset = {} if item.onset is None else {"onset": item.onset}
    np.savez(buffer, allow_pickle=False, key=np.array(key), flow=item.flow, **onset)
    write_whole(path, hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())

"""Clips to judge, from wherever they are: of a dataset by their id, a folder of frames, a video, a flow image.

Who is in a clip matters, for a network must not judge people that it was trained on. It is known from the clip's id,
from where it lies in the dataset's folder, or because it shares frames with a clip there; in anything else no subject
of the dataset is taken to be.
"""

import filecmp
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike

from mer_search.config import Flow, Prep, Run
from mer_search.data import Folder
from mer_search.data.clips import Clip, similar_ids
from mer_search.data.flow import farneback
from mer_search.data.prepare import Read, prepared, read_image
from mer_search.data.readers.annotation import IMAGES, MIN_FRAMES, pictures, processed
from mer_search.data.readers.flow_images import maps_of
from mer_search.errors import DataError

MAX_VIDEO_BYTES = 2**30  # bytes that a video's decoded frames may take
ANNOTATED = "as annotated"  # where a clip's onset, apex and offset come from
MIN_DECODED = 0.9  # a video of which less than this share can be decoded is damaged: its header only estimates

# Of the strongest motion
SIZE = 128  # pixels a side at which motion is looked for
BLOCKS, GREATEST = 6, 12
MAX_REST = 0.2  # share of the apex's motion that an onset or offset has at most
STILL = 1.01  # times what the flow of the first frame from itself has, which rounding makes
MAX_FRAMES = 2000  # frames that are looked through


class Moments(NamedTuple):
    """Frames of a clip; None for one that is not given."""

    onset: int | None = None
    apex: int | None = None
    offset: int | None = None


@dataclass(frozen=True)
class Found:
    """A clip to judge."""

    name: str  # as it was asked for
    clip: Clip  # without a label where no dataset knows it
    subject: str  # of the dataset; "" where no subject of it is in the clip
    origin: str  # where onset, apex and offset come from
    numbers: tuple[int, ...]  # of the clip's frames, as the files have them
    read: Read = read_image

    def shown(self, number: int) -> int:
        """A frame number of `clip` as the files have it."""
        return self.numbers[number - self.clip.onset]


def find(text: str, data: Path, known: Callable[[], Folder], run: Run, given: Moments, flow_images: bool) -> Found:
    """The clip of that id, such as sub05/EP02_01f, or at that path, for networks of a run on the folder `data`, which
    `known` opens where that matters. Of onset, apex and offset what is not given is as annotated, else found.

    Raises:
        DataError: if there is no such clip, it cannot be read, or it cannot be told who of the dataset is in it.
    """
    path, clip, subject = Path(text), None, ""
    if flow_images and given != Moments():
        raise DataError("onset, apex and offset are of frames, but networks of this study take flow images; leave them")
    if data.exists() or not path.exists():
        clip, subject = _of_dataset(text, path, known())
    if clip and given == Moments():
        numbers = clip.numbers or tuple(range(clip.onset, clip.onset + len(clip.frames)))
        return Found(text, clip, subject, ANNOTATED, numbers)
    if clip:
        film = _folder(clip.frames[0].parent)
        film = replace(film, clip=replace(film.clip, label=clip.label, landmarks=clip.landmarks))
        ends = clip.onset, clip.apex, clip.onset + len(clip.frames) - 1
        annotated = (None if k is None else film.clip.frames.index(clip.frames[k - clip.onset]) for k in ends)
        return _between(text, film, subject, run, given, Moments(*annotated))
    image = path.is_file() and path.suffix.lower() in IMAGES
    if image != flow_images:
        must = "a flow image" if flow_images else "a folder of frames or a video"
        raise DataError(f"a clip must be {must} for networks of this study, but {path} is none")
    if not image:
        return _between(text, _folder(path) if path.is_dir() else _video(path), subject, run, given, Moments())
    clip = Clip("", subject, path.stem.strip(), "", maps_of(path), 0, 0, 0, 0)
    if len(clip.frames) < run.frames.maps:
        raise DataError(
            f"networks of this study take {run.frames.maps} flow images a clip, but {path} is one alone; put "
            f"{clip.name}_1.png beside it"
        )
    return Found(text, clip, subject, "a flow image", tuple(range(len(clip.frames))))


def _of_dataset(text: str, path: Path, folder: Folder) -> tuple[Clip | None, str]:
    """The dataset's clip of that id, at that place in its folder, or of which that is a copy; else None, and whose it
    is: by the nearest folder above that is one subject's, or elsewhere by the clip that shares the most frames."""
    if not folder.clips:
        raise DataError(f"{folder.path} must hold clips that tell who is in this one, but none of them can be used")
    place, root, flow_images = path.resolve(), folder.path.resolve(), folder.dataset.flow_images
    if found := next((clip for clip in folder.clips if clip.id == text), None):
        return found, found.subject
    if not path.exists():
        near = similar_ids(text, folder.clips)
        raise DataError(
            f"CLIP must be the id of a clip of {folder.path} (such as {', '.join(near)}) or the path of a folder of "
            f"frames, a video or a flow image, but {text} is neither"
        )
    if not place.is_relative_to(root):

        def shared(clip: Clip) -> int:
            twins = ((path if flow_images else path / frame.name, frame) for frame in clip.frames)
            return sum(twin.is_file() and filecmp.cmp(twin, frame, shallow=False) for twin, frame in twins)

        found = max(folder.clips, key=shared)
        frames = shared(found)
        return found if frames == len(found.frames) else None, found.subject if frames else ""
    for clip in folder.clips:  # a flow image is known by its name: a subject's u_train folder has other people's clips
        if place.stem.strip() == clip.name if flow_images else clip.frames[0].parent.resolve() == place:
            return clip, clip.subject
    names = {clip.subject.lower(): clip.subject for clip in folder.clips}
    around = [] if flow_images else [place, *place.parents]
    for above in itertools.takewhile(lambda above: above != root, around):
        owners = {clip.subject for clip in folder.clips if above in clip.frames[0].resolve().parents}
        owners |= {names[above.name.lower()]} if above.name.lower() in names else set()
        if len(owners) == 1:
            return None, owners.pop()
    raise DataError(
        f"{path} lies among the clips that the networks were trained on, but it cannot be told whose it is; copy it "
        "elsewhere and say --subject, or leave that out if the study has no subject of that name"
    )


def _between(text: str, film: Found, subject: str, run: Run, given: Moments, annotated: Moments) -> Found:
    """A film between onset and offset: those given, else those annotated, else where the motion is strongest."""
    numbers, whole = film.numbers, film.clip
    for name, number in given._asdict().items():
        if number is not None and number not in numbers:
            raise DataError(
                f"--{name} must be a frame of {whole.frames[0].parent} ({numbers[0]} to {numbers[-1]}), but none has "
                f"the number {number}"
            )
    told = [None if number is None else numbers.index(number) for number in given]
    onset, apex, offset = (other if own is None else own for own, other in zip(told, annotated, strict=True))
    parts = ["as told"] * (given != Moments()) + [ANNOTATED] * (annotated != Moments())
    if onset is None or offset is None or (apex is None and run.frames.middle == "apex"):
        onset, apex, offset = strongest(whole, onset, apex, offset, run.prep, film.read)
        parts.append("the strongest motion found")
    origin = ", ".join(parts)
    if offset - onset + 1 < MIN_FRAMES or not (apex is None or onset <= apex <= offset):
        shown = ", ".join("none" if place is None else str(numbers[place]) for place in (onset, apex, offset))
        raise DataError(
            f"a clip must have {MIN_FRAMES} frames from onset to offset, and its apex between, but onset, apex and "
            f"offset are {shown} ({origin}); give --onset, --apex and --offset"
        )
    frames = whole.frames[onset : offset + 1]
    clip = replace(whole, subject=subject, frames=frames, onset=onset, apex=apex, offset=offset)
    return Found(text, clip, subject, origin, numbers[onset : offset + 1], film.read)


def _film(path: Path, numbers: tuple[int, ...], frames: tuple[Path, ...], read: Read = read_image) -> Found:
    """All frames at a path, numbered as in the files' names, in one clip; the clip's own numbers are their places."""
    near = path.with_name(f"{path.name}.csv")
    clip = Clip(
        "", "", path.name, "", frames, 0, None, len(frames) - 1, 0,
        processed=processed(frames), landmarks=near if near.is_file() else None,
    )  # fmt: skip
    return Found(path.name, clip, "", "", numbers, read)


def _folder(path: Path) -> Found:
    """The images in a folder, by the last number in their names."""
    by_number: dict[int, Path] = {}
    for picture in pictures(path):
        if match := re.search(r"(\d+)\D*$", picture.stem):
            if (number := int(match[1])) in by_number:
                raise DataError(f"frames must differ in number, but {by_number[number]} and {picture.name} do not")
            by_number[number] = picture
    if len(by_number) < MIN_FRAMES:
        raise DataError(
            f"a clip's folder must hold {MIN_FRAMES} frames or more, with numbers as in img46.jpg, but {path} has "
            f"{len(by_number)}"
        )
    numbers, frames = zip(*sorted(by_number.items()), strict=True)
    return _film(path, numbers, frames)


def _video(path: Path) -> Found:
    """A video's frames, decoded into memory, numbered from 0; their paths <path>/<number> are no files."""
    capture = cv2.VideoCapture(str(path))
    keys = cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT
    said, width, height = (int(capture.get(key)) for key in keys)
    images: list[MatLike] = []
    size = 0  # bytes so far
    while size <= MAX_VIDEO_BYTES and (decoded := capture.read())[0]:
        images.append(decoded[1])
        size += decoded[1].nbytes
    capture.release()
    if size > MAX_VIDEO_BYTES:
        raise DataError(
            f"a video's frames must take at most {MAX_VIDEO_BYTES >> 20} MiB when decoded, but "
            f"{max(said, len(images))} frames of {width} x {height} pixels of {path} take more; cut it around the "
            "expression, or make it smaller"
        )
    if len(images) < max(MIN_FRAMES, MIN_DECODED * said):
        raise DataError(
            f"a clip must be a folder of frames or a video of {MIN_FRAMES} frames or more, but of {path} "
            f"{len(images) or 'none'} can be decoded{f', where it says {said}' if said > len(images) else ''}"
        )
    numbers = tuple(range(len(images)))
    return _film(path, numbers, tuple(path / str(k) for k in numbers), lambda frame: images[int(frame.name)])


def strongest(
    clip: Clip, onset: int | None, apex: int | None, offset: int | None, prep: Prep, read: Read
) -> tuple[int, int, int]:
    """Onset, apex and offset of the strongest motion, as the clip's frame numbers; those that are known bound it.

    The first frame is the reference, as a neutral face (Liong et al., "Less is more", 2018): the apex is the frame that
    moved most from it, by optical flow. As micro-expressions are local, a frame counts by its face's parts that move
    most: the mean of the 12 greatest of 6 x 6 blocks (as Moilanen, Zhao, Pietikäinen, "Spotting rapid facial movements
    from videos", ICPR 2014, do with differences of appearance). What the whole face moves, the median flow, is taken
    off first. Onset and offset are the nearest frames on either side in which little of that motion is left: our own
    choice. Frames are masked as `prep` has it, so that blinks do not count.

    Raises:
        DataError: if there are too many frames, one cannot be read, or nothing moves.
    """
    first = clip.onset if onset is None else onset
    last = clip.offset if offset is None else offset
    numbers = range(first, last + 1)
    if not 1 < len(numbers) <= MAX_FRAMES:
        raise DataError(
            f"the strongest motion is looked for in 2 to {MAX_FRAMES} frames, but there are {len(numbers)}; give "
            "--onset and --offset"
        )
    prep = prep.model_copy(update={"size": SIZE, "denoise": 0.0})
    images = {k: cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for k, image in prepared(clip, numbers, prep, read).items()}
    moved = {number: _motion(images[first], images[number]) for number in numbers}
    peak = max(moved, key=moved.__getitem__) if apex is None else apex
    if not moved.get(peak, 0) > STILL * moved[first]:
        why = "nothing moves" if apex is None else "at the given apex nothing has moved since the onset"
        raise DataError(f"its strongest motion cannot be found, for {why}; give --onset, --apex and --offset")
    still = [number for number in numbers if moved[number] <= MAX_REST * moved[peak]]
    before = max((number for number in still if number < peak), default=first)
    after = min((number for number in still if number > peak), default=last)
    return before if onset is None else onset, peak, after if offset is None else offset


def _motion(reference: MatLike, image: MatLike) -> float:
    """Pixels that the parts of the face that move most have moved, beyond what the whole face has."""
    seen = reference > 0  # not masked
    if not seen.any():
        return 0.0
    flow = farneback(reference, image, Flow())
    moved = np.hypot(*(component - np.median(component[seen]) for component in flow)) * seen
    blocks = cv2.resize(moved, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
    return float(np.sort(blocks, axis=None)[-GREATEST:].mean())

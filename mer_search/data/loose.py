"""Clips to judge, from wherever they are: of a dataset by their id, a folder of frames, a video, a flow image.

Who is in a clip matters, for a network must not judge people that it was trained on. It is known from the clip's id,
from where it lies in the dataset's folder, or because it shares frames with a clip there; in anything else no subject
of the dataset is taken to be.
"""

import difflib
import filecmp
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import cv2
from cv2.typing import MatLike

from mer_search.config import Run
from mer_search.data import Folder
from mer_search.data.clips import Clip
from mer_search.data.images import Read, read_image
from mer_search.data.readers.annotation import IMAGES, MIN_FRAMES, pictures, processed
from mer_search.data.readers.flow_images import maps_of
from mer_search.data.spotting import strongest
from mer_search.errors import DataError

MAX_VIDEO_BYTES = 2**30  # bytes that a video's decoded frames may take
ANNOTATED = "as annotated"  # where a clip's onset, apex and offset come from
MIN_DECODED = 0.9  # a video of which less than this share can be decoded is damaged: its header only estimates


class Moments(NamedTuple):
    """Frames of a clip; None for one that is not given."""

    onset: int | None = None
    apex: int | None = None
    offset: int | None = None


@dataclass(frozen=True)
class Footage:
    """Numbered frames, and how they are read."""

    path: Path
    numbers: tuple[int, ...]  # as in the files' names; of a video from 0
    frames: tuple[Path, ...]  # of a video <its path>/<number>, which are no files
    read: Read

    def places(self, moments: Moments) -> Moments:
        """Numbers of frames -> their places among all.

        Raises:
            DataError: for a number that no frame has.
        """
        for name, number in moments._asdict().items():
            if number is not None and number not in self.numbers:
                raise DataError(
                    f"--{name} must be a frame of {self.path} ({self.numbers[0]} to {self.numbers[-1]}), but none has "
                    f"the number {number}"
                )
        return Moments(*(None if number is None else self.numbers.index(number) for number in moments))


@dataclass(frozen=True)
class Found:
    """A clip to judge. Its frame numbers are places in `numbers`, counted from `first`."""

    name: str  # as it was asked for
    clip: Clip  # without a label where no dataset knows it
    subject: str  # of the dataset; "" where no subject of it is in the clip
    origin: str  # where onset, apex and offset come from
    numbers: tuple[int, ...]
    first: int = 0
    read: Read = read_image

    def shown(self, number: int) -> int:
        """A frame number of `clip` as the files have it."""
        return self.numbers[number - self.first]


def find(text: str, data: Path, known: Callable[[], Folder], run: Run, given: Moments, flow_images: bool) -> Found:
    """The clip of that id, or at that path.

    Args:
        text: an id such as sub05/EP02_01f, or a path.
        data: the dataset's folder.
        known: opens it; called only where it matters.
        run: how frames are prepared and which are looked at.
        given: onset, apex and offset, as the frames are numbered; what is not given is as annotated, else found.
        flow_images: whether the clip must be a flow image.

    Raises:
        DataError: if there is no such clip, it cannot be read, or it cannot be told who of the dataset is in it.
    """
    path = Path(text)
    inside = path.resolve().is_relative_to(data.resolve())
    if path.exists() and not data.exists():
        return _loose(text, path, "", run, given, flow_images)
    folder = known()
    clip = next((each for each in folder.clips if each.id == text), None)
    owner = ""
    if clip is None and inside:
        clip = _at(path.resolve(), folder)
    elif clip is None:
        clip, owner = _copied(path, folder)
    if clip is None and path.exists():
        return _loose(text, path, _whose(path, folder) if inside else owner, run, given, flow_images)
    if clip is None:
        near = difflib.get_close_matches(text, [each.id for each in folder.clips], n=3, cutoff=0)
        raise DataError(
            f"CLIP must be the id of a clip of {folder.path} (such as {', '.join(near)}) or the path of a folder of "
            f"frames, a video or a flow image, but {text} is neither"
        )
    if given == Moments() or flow_images:
        numbers = clip.numbers or tuple(range(clip.onset, clip.onset + len(clip.frames)))
        return Found(text, clip, clip.subject, ANNOTATED, numbers, clip.onset)
    footage = _folder(clip.frames[0].parent)
    apex = None if clip.apex is None else footage.frames.index(clip.frames[clip.apex - clip.onset])
    annotated = Moments(footage.frames.index(clip.frames[0]), apex, footage.frames.index(clip.frames[-1]))
    return _between(text, footage, clip.subject, run, given, annotated, clip)


def _at(path: Path, folder: Folder) -> Clip | None:
    """The dataset's clip whose frames lie in the folder `path`, or that is the flow image there.

    A flow image is known by its name, too: a subject's u_train folder has other people's clips.
    """
    if folder.dataset.flow_images:
        return next((clip for clip in folder.clips if path.stem.strip() == clip.name), None)
    return next((clip for clip in folder.clips if clip.frames[0].parent.resolve() == path), None)


def _copied(path: Path, folder: Folder) -> tuple[Clip | None, str]:
    """The dataset's clip of which something elsewhere is a copy, all of its frames; and the subject of the clip with
    which it shares the most frames, "" if with none."""

    def shared(clip: Clip) -> int:
        twins = ((path if folder.dataset.flow_images else path / frame.name, frame) for frame in clip.frames)
        return sum(twin.is_file() and filecmp.cmp(twin, frame, shallow=False) for twin, frame in twins)

    found = max(folder.clips, key=shared)
    frames = shared(found)
    return found if frames == len(found.frames) else None, found.subject if frames else ""


def _whose(path: Path, folder: Folder) -> str:
    """The subject that something in the dataset's folder is of, by the nearest folder that is one subject's."""
    names, root = {clip.subject.lower(): clip.subject for clip in folder.clips}, folder.path.resolve()
    if not folder.dataset.flow_images:
        for above in (path.resolve(), *path.resolve().parents):
            if above == root:
                break
            owners = {clip.subject for clip in folder.clips if above in clip.frames[0].resolve().parents}
            owners |= {names[above.name.lower()]} if above.name.lower() in names else set()
            if len(owners) == 1:
                return owners.pop()
    raise DataError(
        f"{path} lies among the clips that the networks were trained on, but it cannot be told whose it is; copy it "
        "elsewhere and say --subject, or leave that out if the study has no subject of that name"
    )


def _loose(text: str, path: Path, subject: str, run: Run, given: Moments, flow_images: bool) -> Found:
    """A clip that no dataset lists."""
    image = path.is_file() and path.suffix.lower() in IMAGES
    if image != flow_images:
        must = "a flow image" if flow_images else "a folder of frames or a video"
        raise DataError(f"a clip must be {must} for networks of this study, but {path} is none")
    if image:
        clip = Clip("", subject, path.stem.strip(), "", maps_of(path), 0, 0, 0, 0)
        if len(clip.frames) < run.frames.maps:
            raise DataError(
                f"networks of this study take {run.frames.maps} flow images a clip, but {path} is one alone; put "
                f"{clip.name}_1.png beside it"
            )
        return Found(text, clip, subject, "a flow image", tuple(range(len(clip.frames))))
    footage = _folder(path) if path.is_dir() else _video(path)
    return _between(text, footage, subject, run, given, Moments())


def _between(
    text: str, footage: Footage, subject: str, run: Run, given: Moments, annotated: Moments, clip: Clip | None = None
) -> Found:
    """The clip between onset and offset: those given, else those annotated, else where the motion is strongest."""
    told = footage.places(given)
    chosen = Moments(*(own if own is not None else other for own, other in zip(told, annotated, strict=True)))
    near = footage.path.with_name(f"{footage.path.name}.csv")
    whole = Clip(
        "", subject, footage.path.name, "", footage.frames, 0, None, len(footage.frames) - 1, 0,
        processed=processed(footage.frames), landmarks=near if near.is_file() else None,
    )  # fmt: skip
    if clip is not None:
        whole = replace(whole, label=clip.label, landmarks=clip.landmarks)
    parts = ["as told"] * (given != Moments()) + ["as annotated"] * (annotated != Moments())
    if None in (chosen.onset, chosen.offset) or (chosen.apex is None and run.frames.middle == "apex"):
        chosen = Moments(*strongest(whole, *chosen, run, footage.read))
        parts.append("the strongest motion found")
    onset, apex, offset = chosen
    assert onset is not None and offset is not None  # noqa: S101 (given, annotated or found)
    if offset - onset + 1 < MIN_FRAMES or not (apex is None or onset <= apex <= offset):
        shown = [None if place is None else footage.numbers[place] for place in chosen]
        raise DataError(
            f"a clip must have {MIN_FRAMES} frames from onset to offset, and its apex between, but onset, apex and "
            f"offset are {', '.join(map(str, shown))} ({', '.join(parts)}); give --onset, --apex and --offset"
        )
    chosen_clip = replace(whole, frames=footage.frames[onset : offset + 1], onset=onset, apex=apex, offset=offset)
    return Found(text, chosen_clip, subject, ", ".join(parts), footage.numbers, 0, footage.read)


def _folder(path: Path) -> Footage:
    """The images in a folder, by the last number in their names."""
    by_number: dict[int, Path] = {}
    for picture in pictures(path):
        if match := re.search(r"(\d+)\D*$", picture.stem):
            if (number := int(match[1])) in by_number:
                raise DataError(f"frames must differ in number, but {by_number[number]} and {picture.name} do not")
            by_number[number] = picture
    if len(by_number) < MIN_FRAMES:
        raise DataError(
            f"a clip's folder must hold {MIN_FRAMES} frames or more such as img46.jpg, but {path} has {len(by_number)}"
        )
    numbers = tuple(sorted(by_number))
    return Footage(path, numbers, tuple(by_number[number] for number in numbers), read_image)


def _video(path: Path) -> Footage:
    """A video's frames, decoded into memory."""
    capture = cv2.VideoCapture(str(path))
    said, width, height = (
        int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    images: list[MatLike] = []
    size, step = 0, 3 * width * height  # bytes so far, and of a frame
    while size + step <= MAX_VIDEO_BYTES and (decoded := capture.read())[0]:
        images.append(decoded[1])
        size += decoded[1].nbytes
    capture.release()
    if size + step > MAX_VIDEO_BYTES:
        raise DataError(
            f"a video's frames must take at most {MAX_VIDEO_BYTES >> 20} MiB when decoded, but "
            f"{max(said, len(images) + 1)} frames of {width} x {height} pixels of {path} take more; cut it around the "
            "expression, or make it smaller"
        )
    if len(images) < max(MIN_FRAMES, MIN_DECODED * said):
        raise DataError(
            f"a clip must be a folder of frames or a video of {MIN_FRAMES} frames or more, but of {path} "
            f"{len(images) or 'none'} can be decoded{f', where it says {said}' if said > len(images) else ''}"
        )
    frames = tuple(path / str(number) for number in range(len(images)))
    return Footage(path, tuple(range(len(images))), frames, lambda frame: images[int(frame.name)])

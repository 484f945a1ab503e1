"""A folder in CASME II's layout, filled with drawn faces: what the tool runs on where no licensed data is at hand.

Class counts, action units, clip lengths and file names follow CASME II (Yan et al., PLoS ONE 9(1), 2014). A clip is one
person's still face, warped by the displacement fields of its action units; only motion tells the classes apart. Every
random number comes from (seed, subject, clip), so a clip does not depend on which others are written beside it.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mer_search.data.readers.layouts import CASME2, CLASSES
from mer_search.data.synthetic.faces import Floats, Person, bump, displacement, landmarks, person_of
from mer_search.data.threads import Check, in_threads
from mer_search.errors import UsageError
from mer_search.files import make_folder, whole_folder, write_whole

MARKER = "synthetic.json"  # says that the clips beside it are drawn
COUNTS = {  # subject: clips per class, in the order of CLASSES; 246 in all
    1: (1, 0, 2, 0, 6), 2: (1, 5, 0, 3, 4), 3: (0, 0, 4, 1, 2), 4: (0, 0, 3, 0, 2), 5: (1, 0, 1, 5, 12),
    6: (1, 0, 1, 2, 1), 7: (0, 0, 5, 0, 4), 8: (0, 1, 0, 0, 2), 9: (5, 5, 0, 0, 3), 10: (0, 0, 0, 0, 13),
    11: (0, 0, 4, 0, 6), 12: (2, 0, 5, 4, 1), 13: (2, 0, 0, 0, 6), 14: (3, 0, 0, 0, 1), 15: (1, 0, 1, 1, 0),
    16: (2, 1, 0, 0, 1), 17: (7, 9, 14, 1, 3), 18: (0, 0, 0, 0, 3), 19: (3, 0, 3, 5, 4), 20: (0, 0, 2, 0, 9),
    21: (0, 1, 0, 0, 1), 22: (0, 2, 0, 0, 0), 23: (1, 3, 4, 0, 4), 24: (0, 0, 2, 1, 4), 25: (0, 0, 3, 2, 2),
    26: (2, 0, 9, 0, 5),
}  # fmt: skip
ACTION_UNITS = {  # class: how often its commonest codes occur in CASME II's sheet
    "happiness": {"12": 6, "L12": 6, "6+12": 5, "14": 3, "R12": 3},
    "repression": {"17": 13, "15": 4, "15+17": 4, "14": 2},
    "disgust": {"4+7": 20, "4": 11, "4+9": 4, "4+R10": 4, "4+7+9": 3},
    "surprise": {"1+2": 5, "L1+L2": 5, "1": 4, "1+L2": 2, "R2": 2},
    "others": {"4": 59, "14": 12, "?": 5, "17": 4, "R14": 3, "4+7": 3},
}
ODD = {  # (subject, name): what the sheet calls its apex; the other names are drawn
    (3, "EP01_2"): "apex", (3, "EP08_1"): "apex", (7, "EP06_02_01"): "apex", (7, "EP06_02_02"): "apex",
    (9, "EP09f"): "apex", (4, "EP12_01f"): "/", (5, "EP09_05f"): "onset", (5, "EP16_04f"): "offset",
    (12, "EP09_06"): "offset", (20, "EP16_01"): "offset", (25, "EP18_04f"): "offset",
}  # fmt: skip
SENSOR_NOISE = 2.5  # grey levels


@dataclass(frozen=True)
class Clip:
    """One row of the sheet."""

    subject: int
    index: int  # position among the subject's clips; with seed and subject it fixes all randomness
    name: str
    onset: int
    apex: int  # where the motion peaks
    offset: int
    sheet_apex: int | str  # what the sheet says of it
    action_units: int | str
    emotion: str


def plan_clips(seed: int = 0, subjects: Sequence[int] = tuple(COUNTS)) -> list[Clip]:
    """The rows of the sheet, by subject and name."""
    clips = []
    for subject in sorted(set(subjects)):
        rng = np.random.default_rng([seed, subject, 0])
        names = {name for who, name in ODD if who == subject}
        while len(names) < sum(COUNTS[subject]):
            suffix = "f" if rng.random() < 0.28 else ""  # 72 of 255 names end in f
            names.add(f"EP{rng.integers(1, 20):02d}_{rng.integers(1, 14):02d}{suffix}")
        emotions = np.repeat(CLASSES, COUNTS[subject])
        rng.shuffle(emotions)  # so that neither name nor row order tells the class
        for index, (name, emotion) in enumerate(zip(sorted(names), emotions.tolist(), strict=True)):
            codes = ACTION_UNITS[emotion]
            code = str(rng.choice(list(codes), p=np.array(list(codes.values())) / sum(codes.values())))
            length = int(np.clip(round(rng.normal(65, 22)), 24, 141))
            onset, peak = int(rng.integers(1, 300)), float(np.clip(rng.normal(0.51, 0.17), 0.15, 0.85))
            apex, offset = onset + round(peak * (length - 1)), onset + length - 1
            where = ODD.get((subject, name), "apex")
            said = {"apex": apex, "onset": onset, "offset": offset}.get(where, where)
            unit = int(code) if code.isdigit() and rng.random() < 0.7 else code  # the real sheet has both 12 and "12"
            clips.append(Clip(subject, index, name, onset, apex, offset, said, unit, emotion))
    return clips


def _write_sheet(path: Path, clips: Sequence[Clip]) -> None:
    import openpyxl  # slow to load: not in every process

    book, buffer = openpyxl.Workbook(), io.BytesIO()
    book.active.title = "Sheet1"
    book.active.append(["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None,
                        "Action Units", "Estimated Emotion"])  # fmt: skip
    for c in clips:
        book.active.append([c.subject, c.name, None, c.onset, c.sheet_apex, c.offset, None, c.action_units, c.emotion])
    book.save(buffer)
    with zipfile.ZipFile(buffer) as written, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as fixed:
        for name in written.namelist():  # openpyxl stamps the time of writing, and equal seeds should give equal files
            text = re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+Z", b"2014-05-08T00:00:00Z", written.read(name))
            fixed.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)


def _ease(t: Floats) -> Floats:
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(t, 0, 1))  # 0 up to 0, 1 from 1 on, smooth between


def profile(length: int, apex: int, rest: float = 0.0) -> Floats:
    """(F,) how far a movement has gone in each frame: 0 at the onset, 1 at frame `apex`, about `rest` at the offset."""
    return _ease(np.interp(np.arange(length), (0, apex, length - 1), (0, 1, rest)))


def clip_motion(clip: Clip, person: Person) -> tuple[Floats, Floats]:
    """Courses (F, K) and the fields (K, H, W, 2) they scale; a frame is displaced by their product summed over K."""
    rng = np.random.default_rng([*person.key, 3, clip.index])
    length, (height, width) = clip.offset - clip.onset + 1, person.face.shape[:2]
    courses = [rng.lognormal(0, 0.2) * profile(length, clip.apex - clip.onset, rng.uniform(0, 0.3))]
    fields = [displacement(clip.action_units, height, width, person)]
    for _ in range(rng.poisson(2.5 * person.unrest)):  # movements that mean nothing
        turn, peak = rng.uniform(0, 2 * np.pi), int(rng.integers(1, length - 1))
        centre, radius = rng.uniform((0.15, 0.2), (0.85, 0.95)).tolist(), rng.uniform(0.04, 0.12, 2).tolist()
        fields.append(bump(height, width, centre, (np.cos(turn), np.sin(turn)), radius))
        courses.append(rng.gamma(2, 0.3 * person.unrest) * profile(length, peak, rng.random()))
    for _ in range(rng.poisson(0.25 * person.unrest)):  # blinks of 0.1 to 0.2 s, whatever the label
        fields.append(displacement(45, height, width, person))
        shut = _ease(1 - np.abs(np.arange(length) - rng.integers(20, length)) / rng.integers(10, 20))
        courses.append(shut / person.gain)  # a blink is as wide whatever the gain
    return np.stack(courses, 1).astype(np.float32), np.stack(fields)


def _wander(rng: np.random.Generator, length: int) -> Floats:
    """(F,) a slow random path of about unit size that starts at 0."""
    seconds, phase = np.arange(length) / 200, rng.random((3, 1))
    waves = rng.normal(0, 0.5, (3, 1)) * np.sin(2 * np.pi * (seconds * rng.uniform(0.3, 4, (3, 1)) + phase))
    return np.asarray((waves - waves[:, :1]).sum(0))


def render_clip(clip: Clip, person: Person, check: Check = lambda: None) -> NDArray[np.uint8]:
    """The clip's frames from onset to offset, (F, H, W, 3) uint8 BGR. `check` is called before each."""
    rng = np.random.default_rng([*person.key, 4, clip.index])
    courses, fields = clip_motion(clip, person)  # (F, K) and (K, H, W, 2)
    height, width = person.face.shape[:2]
    drift = np.stack([_wander(rng, len(courses)) for _ in range(3)], 1) * (0.4, 0.4, 0.0015) * person.unrest
    pose = rng.normal(0, (1, 1, 0.005)) + drift  # (F, 3): x and y in 224ths, radians
    light = rng.normal(1, 0.04) + 0.01 * _wander(rng, len(pose)) + rng.normal(0, 0.004, len(pose))  # the last: flicker
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    frames = np.empty((len(pose), height, width, 3), np.uint8)
    for f in range(len(pose)):
        check()
        dx, dy, turn = (pose[f] * (width / 224, height / 224, 1)).tolist()
        moved = np.tensordot(courses[f], fields, 1)  # (H, W, 2)
        from_x = x - moved[..., 0] - dx + turn * (y - height / 2)
        from_y = y - moved[..., 1] - dy - turn * (x - width / 2)
        image = cv2.remap(person.face, from_x, from_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        noisy = image * np.float32(light[f]) + SENSOR_NOISE * rng.standard_normal(image.shape, dtype=np.float32)
        frames[f] = np.clip(noisy + 0.5, 0, 255)
    return frames


def _write_clip(out: Path, clip: Clip, person: Person, check: Check) -> None:
    """A clip's frames and, as OpenFace writes them, the landmarks of the face at rest, the same in all frames."""
    place = f"sub{clip.subject:02d}/{clip.name}"
    folder = out / "Cropped" / place
    make_folder(folder)
    for number, frame in enumerate(render_clip(clip, person, check), clip.onset):
        jpeg = cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, 95))[1]
        (folder / f"reg_img{number}.jpg").write_bytes(jpeg.tobytes())  # unlike imwrite, says why it fails
    head = ["success", *(f"{axis}_{point}" for point in range(68) for axis in "xy")]
    row = ["1", *(f"{value:.2f}" for value in landmarks(person).ravel())]
    lines = [head, *[row] * (clip.offset - clip.onset + 1)]
    write_whole(out / "landmarks" / f"{place}.csv", "".join(", ".join(line) + "\n" for line in lines))


def write_dataset(
    out: Path, *, height: int = 128, width: int = 128, seed: int = 0, subjects: Sequence[int] = tuple(COUNTS),
    threads: int | None = None, on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> int:  # fmt: skip
    """Write the folder, with frames of `height` x `width` pixels, and return the number of clips. A call that fails
    leaves nothing at `out`. Threads (None: one a core) do not change the result; for `on_clip` see data.threads.

    Raises:
        UsageError: for a size outside 64 to 512, a negative seed, an unknown subject, or an `out` that is not empty.
    """
    _check(height, width, seed, subjects)
    clips = plan_clips(seed, subjects)

    def write(clip: Clip, check: Check) -> None:
        _write_clip(building, clip, person_of(seed, clip.subject, height, width), check)

    with whole_folder(out.absolute()) as building:
        _write_sheet(building / CASME2.file, clips)
        marker = json.dumps({"seed": seed, "height": height, "width": width, "version": 1})
        (building / MARKER).write_text(marker + "\n", encoding="utf-8")
        in_threads(write, clips, on_clip, threads)
    return len(clips)


def _check(height: int, width: int, seed: int, subjects: Sequence[int]) -> None:
    if not (64 <= height <= 512 and 64 <= width <= 512 and seed >= 0 and set() < set(subjects) <= set(COUNTS)):
        raise UsageError(
            "height and width must be 64 to 512, seed 0 or more, and subjects some of 1 to 26, but got "
            f"{height}, {width}, {seed} and {list(subjects)}"
        )

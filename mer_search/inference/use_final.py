"""Class probabilities of a clip's frames, by the networks in the ONNX file beside this file. It needs no mer-search.

    python use_final.py FOLDER [ONSET [APEX] OFFSET]

FOLDER has the frames as images, which are taken in the order of the last numbers in their names. ONSET, APEX and OFFSET
count them from 0; without them the clip is the whole folder. Faces must be aligned and cropped as the networks' were.

Shapes: H W pixels of a frame, S a side of the motion maps, T maps, P components.
"""

import json
import sys
from pathlib import Path

try:
    import cv2
    import numpy as np
    import onnxruntime
    from cv2.typing import MatLike
    from numpy.typing import NDArray
except ImportError as missing:
    if __name__ != "__main__":
        raise
    install = "pip install numpy opencv-python onnxruntime"
    sys.exit(f"error: {Path(__file__).name} needs packages of which one cannot be imported ({missing}); {install}")

MODEL = "everybody.onnx"
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
MIN_FRAMES = 5  # from onset to offset
ENDS = {1: (0, 2), 2: (0, 2, 4), 3: (0, 1, 2, 4), 4: (0, 1, 2, 3, 4)}  # which of five frames, by the number of maps
GREYS = {"luma": cv2.COLOR_BGR2GRAY, "swapped": cv2.COLOR_RGB2GRAY}
DIS = {
    "FinestScale": "dis_finest_scale", "PatchSize": "dis_patch", "PatchStride": "dis_stride",
    "GradientDescentIterations": "dis_descent", "VariationalRefinementIterations": "dis_refinement",
}  # fmt: skip
SUPPORTED = {
    "prep.mask": ("none",), "prep.denoise": (0.0,), "prep.resize": ("area", "linear"),
    "flow.method": ("farneback", "dis", "difference"),
}  # fmt: skip


def refusal(told: dict[str, str]) -> str:
    """Why frames cannot be prepared here as the networks of this metadata need them; "" if they can."""
    if "strain" in told["inputs"]:
        return f"{Path(__file__).name} takes frames, but these networks take flow images"
    for key, supported in SUPPORTED.items():
        part, _, name = key.partition(".")
        if (found := json.loads(told[part])[name]) not in supported:
            must = " or ".join(map(str, supported))
            return f"{key} must be {must} for {Path(__file__).name}, but is {found}"
    return ""


def looked_at(told: dict[str, str], onset: int, apex: int | None, offset: int) -> list[int]:
    """Which T + 1 frames the networks look at. Without an apex the midpoint stands in for it."""
    config = json.loads(told["frames"])
    has_apex = config["middle"] == "apex" and apex is not None and onset < apex < offset
    middle = apex if has_apex and apex is not None else (onset + offset) // 2
    five = (onset, (onset + middle) // 2, middle, (middle + offset) // 2, offset)
    return [five[end] for end in ENDS[config["maps"]]]


def resized(image: MatLike, size: int, how: str = "area") -> MatLike:
    """An image (H, W, 3) -> (size, size, 3)."""
    shrinks = min(image.shape[:2]) > size and how == "area"
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def farneback(before: MatLike, after: MatLike, told: dict[str, str]) -> MatLike:
    """Flow (H, W, 2) in pixels from one grey image to another."""
    flow = json.loads(told["flow"])
    names = ("pyr_scale", "levels", "winsize", "iterations", "poly_n", "poly_sigma")
    return np.asarray(cv2.calcOpticalFlowFarneback(before, after, None, *(flow[name] for name in names), 0))


def dis(before: MatLike, after: MatLike, told: dict[str, str]) -> MatLike:
    """The same by dense inverse search."""
    flow, search = json.loads(told["flow"]), cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for name, key in DIS.items():
        getattr(search, f"set{name}")(flow[key])
    return np.asarray(search.calc(before, after, None))


def motion(before: MatLike, after: MatLike, told: dict[str, str]) -> NDArray[np.float32]:
    """Motion (P, S, S) from one prepared frame to another."""
    flow = json.loads(told["flow"])
    size = flow["size"]
    if flow["method"] == "difference":
        gained = resized(after, size).astype(np.float32) - resized(before, size)
        return np.asarray(gained[:, :, ::-1].transpose(2, 0, 1))
    before, after = (cv2.cvtColor(image, GREYS[flow["grey"]]) for image in (before, after))
    vectors = (dis if flow["method"] == "dis" else farneback)(before, after, told)
    if (side := len(vectors)) != size:
        how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
        vectors = cv2.resize(vectors, (size, size), interpolation=how) * np.float32(size / side)
    return np.asarray(vectors, np.float32).transpose(2, 0, 1)


def probabilities(session: onnxruntime.InferenceSession, frames: list[MatLike]) -> dict[str, float]:
    """Class -> probability, from the T + 1 frames (H, W, 3), BGR, that `looked_at` names."""
    told = session.get_modelmeta().custom_metadata_map
    prep, size = json.loads(told["prep"]), json.loads(told["flow"])["size"]
    images = [resized(frame, prep["size"], prep["resize"]) for frame in frames]
    from_onset = json.loads(told["frames"])["pairs"] == "onset"
    starts = images[:1] * (len(images) - 1) if from_onset else images[:-1]
    maps = [motion(*pair, told) for pair in zip(starts, images[1:], strict=True)]
    onset = cv2.resize(images[0], (size, size), interpolation=cv2.INTER_AREA)[:, :, ::-1].transpose(2, 0, 1)
    inputs = {
        "motion": np.stack(maps).astype(np.float16).astype(np.float32)[None],  # as it was kept for training
        "onset": np.ascontiguousarray(onset, np.float32)[None],
    }
    (found,) = session.run(None, {each.name: inputs[each.name] for each in session.get_inputs()})
    return dict(zip(json.loads(told["classes"]), found[0].tolist(), strict=True))


def number(path: Path) -> int:
    """The last number in a file's name; -1 if it has none."""
    digits = "".join(letter if letter.isdecimal() else " " for letter in path.stem).split()
    return int(digits[-1]) if digits else -1


def read(path: Path) -> MatLike:
    """A colour image (H, W, 3), BGR."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        sys.exit(f"error: a frame must be an image, but {path} cannot be decoded")
    return image


def main(arguments: list[str]) -> None:
    """Print which frames are looked at, and each class with its probability."""
    if len(arguments) not in (1, 3, 4) or not all(each.isdecimal() for each in arguments[1:]):
        sys.exit(f"usage: python {Path(__file__).name} FOLDER [ONSET [APEX] OFFSET]")
    session = onnxruntime.InferenceSession(Path(__file__).with_name(MODEL), providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    if reason := refusal(told):
        sys.exit(f"error: {reason}")
    if not Path(arguments[0]).is_dir():
        sys.exit(f"error: FOLDER must hold a clip's frames, but there is no folder {arguments[0]}")
    images = [path for path in Path(arguments[0]).glob("*") if path.suffix.lower() in IMAGES and number(path) >= 0]
    images.sort(key=number)
    if len(set(map(number, images))) < len(images):
        sys.exit(f"error: frames must differ in number, but some of {arguments[0]} do not")
    onset, *apex, offset = map(int, arguments[1:] or (0, len(images) - 1))
    if not MIN_FRAMES <= offset - onset + 1 <= len(images) - onset or not all(onset <= each <= offset for each in apex):
        sys.exit(
            f"error: a clip must have {MIN_FRAMES} frames from onset to offset, and its apex between, but they are "
            f"{', '.join(map(str, (onset, *apex, offset)))} of {len(images)} frames in {arguments[0]}"
        )
    places = looked_at(told, onset, apex[0] if apex else None, offset)
    print("frames looked at:", *(images[place].name for place in places))
    for name, probability in probabilities(session, [read(images[place]) for place in places]).items():
        print(f"{name:20} {probability:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""Small pictures of clips for contact sheets: faces, motion, and maps laid over them.

Pictures are RGB (SIDE, SIDE, 3), grounds grey (SIDE, SIDE), both in [0, 1].
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from mer_search.config import Run, with_values
from mer_search.data.clips import Clip
from mer_search.data.flow import frame_sets, measure
from mer_search.data.prepare import read_image, resized
from mer_search.report.document import Tile
from mer_search.report.preview import colours

SIDE = 112  # pixels
# Motion from onset to apex as a person looks at it, whatever the networks are shown.
PLAIN = with_values(
    Run(),
    {"frames.maps": 1, "frames.middle": "apex", "frames.jitter": 0.0, "prep.size": SIDE, "flow.size": SIDE},
)
RED, COVER = (0.9, 0.1, 0.0), 0.75  # how much of the ground the strongest place of a map hides

Picture = NDArray[np.float32]
Map = NDArray[Any]  # (G, G) places, or a ground


def frames(clip: Clip) -> list[tuple[str, Picture]]:
    """Its onset and its apex (the middle frame where none is given), with their names; of a flow image none."""
    if clip.is_flow:
        return []
    onset, apex = frame_sets(clip, PLAIN.frames)[0]
    names = ("onset", "apex" if apex == clip.apex else "middle")
    return [(name, _face(clip, number)) for name, number in zip(names, (onset, apex), strict=True)]


def _face(clip: Clip, number: int) -> Picture:
    image = resized(read_image(clip.frames[number - clip.onset]), SIDE)[:, :, ::-1]
    return np.asarray(image / np.float32(255))


def motion(clip: Clip) -> Picture:
    """Its motion from onset to apex: the direction is the hue, the strength the brightness."""
    return np.asarray(colours(_flow(clip))[0, 0].permute(1, 2, 0).clip(0, 1).numpy())


def _flow(clip: Clip) -> torch.Tensor:
    """(1, 1, P, SIDE, SIDE).

    A flow image has lost where its zero is; most of a face is still, so that it is taken to be the median.
    """
    flow = torch.from_numpy(measure(clip, frame_sets(clip, PLAIN.frames)[:1], PLAIN).flow).float()
    return flow - flow.flatten(3).median(3).values[..., None, None] if clip.is_flow else flow


def ground(clip: Clip) -> Map:
    """What maps are laid over: the onset face, or how strongly each place of a flow image moves."""
    if not clip.is_flow:
        return np.asarray(_face(clip, clip.onset).mean(2))
    return stretched(torch.hypot(*_flow(clip)[0, 0, :2]).numpy())


def grey(below: Map) -> Picture:
    """A ground as it is."""
    return np.repeat(below[:, :, None], 3, axis=2)


def over(below: Map, heat: Map) -> Picture:
    """A map (G, G) in [0, 1] over a ground: the redder, the more."""
    large = cv2.resize(np.asarray(heat, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    cover = COVER * large.clip(0, 1)[:, :, None]
    return np.asarray((1 - cover) * below[:, :, None] + cover * np.array(RED), np.float32)


def stretched(heat: Map) -> Map:
    """A map from its least value to its greatest -> from 0 to 1; a flat one is 0."""
    spread = float(heat.max() - heat.min())
    return np.asarray((heat - heat.min()) / spread if spread > 0 else np.zeros_like(heat))


def mean_share(maps: Sequence[Map]) -> Map:
    """The mean of maps of at least 0, each as a share of its greatest value, so that each clip counts alike."""
    return np.asarray(np.mean([map_ / max(float(map_.max()), 1e-12) for map_ in maps], axis=0))


def tile(title: str, text: str, pictures: Sequence[tuple[str, Picture]]) -> Tile:
    """A tile of a contact sheet, its pictures as PNG."""
    return Tile(title, text, [(label, _png(picture)) for label, picture in pictures])


def _png(picture: Picture) -> bytes:
    _, content = cv2.imencode(".png", np.round(picture[:, :, ::-1] * 255).clip(0, 255).astype(np.uint8))
    return content.tobytes()

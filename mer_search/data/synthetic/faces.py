"""Drawn faces and how their muscles move them.

Positions are fractions of the image: x from the left, y from the top. Motion is in pixels of a 224 x 224 image.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mer_search.data.readers.layouts import CASME2

Floats = NDArray[Any]  # of float32, or of float64 where that is what numpy gives

# Action unit: bumps (feature, x off the midline, y, dx outwards, dy down, half-widths in x and y). A bump off the
# midline is there on both sides. Directions after the FACS manual (Ekman, Friesen, Hager 2002); 45 is the blink.
BUMPS: dict[int, list[tuple[str, float, float, float, float, float, float]]] = {
    1: [("brow", 0.10, 0.24, 0.3, -2.4, 0.07, 0.07)], 2: [("brow", 0.25, 0.25, 0.2, -2.4, 0.08, 0.07)],
    4: [("brow", 0.11, 0.26, -1.7, 1.7, 0.09, 0.07)], 5: [("eye", 0.19, 0.34, 0.0, -1.6, 0.09, 0.03)],
    6: [("eye", 0.24, 0.47, -0.6, -1.7, 0.10, 0.07)],
    7: [("eye", 0.19, 0.40, -0.4, -1.6, 0.10, 0.03), ("eye", 0.19, 0.34, 0.0, 0.8, 0.10, 0.03)],
    9: [("nose", 0.06, 0.50, 0.0, -2.2, 0.06, 0.09), ("mouth", 0.08, 0.68, 0.0, -1.0, 0.07, 0.06)],
    10: [("mouth", 0.07, 0.71, 0.2, -2.2, 0.07, 0.06)],
    12: [("mouth", 0.15, 0.76, 1.5, -1.7, 0.08, 0.08), ("mouth", 0.22, 0.62, 0.3, -0.9, 0.10, 0.08)],
    14: [("mouth", 0.16, 0.77, -2.0, -0.2, 0.08, 0.07)], 15: [("mouth", 0.14, 0.80, 0.3, 2.2, 0.07, 0.07)],
    17: [("jaw", 0.00, 0.90, 0.0, -2.3, 0.13, 0.06), ("mouth", 0.00, 0.82, 0.0, -1.0, 0.10, 0.05)],
    45: [("eye", 0.19, 0.355, 0.0, 10.0, 0.10, 0.042), ("eye", 0.19, 0.41, 0.0, -3.0, 0.10, 0.03)],
}  # fmt: skip

# The parts of a face, painted in order: x off the midline, y, half-width, half-height, bend (the ends lie this much
# lower than the middle), softness of the edge, BGR, opacity. A part off the midline is painted on both sides.
SKIN, SHADOW, LIGHT, LIP, HAIR = (125, 150, 185), (25, 35, 55), (215, 225, 240), (95, 95, 165), (30, 32, 38)
FACE: dict[str, list[tuple[Any, ...]]] = {
    "nose": [(0, 0.46, 0.035, 0.16, 0, 0.6, LIGHT, 0.22), (0.07, 0.48, 0.03, 0.14, 0, 0.7, SHADOW, 0.22),
             (0, 0.585, 0.06, 0.045, 0, 0.6, LIGHT, 0.25), (0.085, 0.6, 0.036, 0.035, -0.01, 0.5, SHADOW, 0.3),
             (0.04, 0.625, 0.025, 0.012, -0.008, 0.4, SHADOW, 0.85)],  # nostrils
    "mouth": [(0.18, 0.68, 0.016, 0.06, 0, 0.9, SHADOW, 0.2), (0, 0.755, 0.145, 0.028, 0.015, 0.2, LIP, 0.6),
              (0, 0.795, 0.115, 0.032, -0.02, 0.25, LIP, 0.55), (0, 0.772, 0.155, 0.007, -0.006, 0.4, SHADOW, 0.85),
              (0.15, 0.77, 0.016, 0.015, 0, 0.6, SHADOW, 0.5)],  # corners
    "jaw": [(0, 0.86, 0.11, 0.02, -0.015, 0.7, SHADOW, 0.28)],
    "eye": [(0.19, 0.34, 0.15, 0.09, 0, 0.6, SHADOW, 0.35), (0.19, 0.312, 0.085, 0.005, 0.02, 0.6, SHADOW, 0.4),
            (0.19, 0.365, 0.08, 0.03, 0.008, 0.2, (200, 205, 210), 0.85),  # white, iris, pupil, lashes
            (0.185, 0.362, 0.032, 0.032, 0, 0.15, (35, 50, 70), 0.92), (0.185, 0.362, 0.015, 0.015, 0, 0.2, HAIR, 0.95),
            (0.19, 0.337, 0.09, 0.009, 0.02, 0.4, HAIR, 0.85)],
    "brow": [(0.2, 0.245, 0.115, 0.018, 0.022, 0.45, HAIR, 0.75)],
}  # fmt: skip
CANVAS = 512  # a face is painted on a square of this side, then shrunk to the image
SIDES = {"": (1, -1), "L": (1,), "R": (-1,)}  # the person's own left is on the right of the image
EASY, HARD = (0.8, 1.3), (0.48, 1.9)  # mean gain and unrest of a Person, set so that this is learnable, not trivial


@dataclass(frozen=True)
class Person:
    """What stays the same over a subject's clips."""

    key: tuple[int, int]  # (seed, subject)
    place: dict[str, tuple[float, float, float]]  # feature: (shift in y, scale in x, scale of the part)
    gain: float  # how strongly this person's muscles move
    unrest: float  # how much else moves
    face: Floats  # (H, W, 3) float32 BGR, at rest


@functools.lru_cache(maxsize=2)  # a worker meets a subject's clips one after the other
def person_of(seed: int, subject: int, height: int, width: int) -> Person:
    """The person who is `subject`; one of the hardest moves less, and more distracts from it."""
    rng = np.random.default_rng([seed, subject, 1])
    place = {f: (rng.normal(0, 0.012), rng.normal(1, 0.05), rng.normal(1, 0.10)) for f in FACE}
    mean = HARD if f"sub{subject:02d}" in CASME2.hardest else EASY
    gain, unrest = (rng.lognormal(0, (0.15, 0.2)) * mean).tolist()
    face = cv2.resize(_paint_face(rng, place, height / width), (width, height), interpolation=cv2.INTER_AREA)
    return Person((seed, subject), place, gain, unrest, face)


def landmarks(person: Person) -> Floats:
    """The 68 points (68, 2) of the face at rest, in its image's pixels, as OpenFace and dlib number them: the jaw from
    the right ear, the right eye from its outer corner, the left from its inner one. Points of brows, nose and mouth,
    which no mask needs, lie in the middle of the face."""
    points = np.full((68, 2), 0.5)
    along = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([0.5 + 0.45 * np.cos(along), 0.55 + 0.42 * np.sin(along)], 1)
    shift, wide, size = person.place["eye"]
    across, down = np.array([-1, -0.4, 0.4, 1, 0.4, -0.4]), np.array([0, -1, -1, 0, 1, 1])
    for first, side in ((36, -1), (42, 1)):
        x = 0.5 + side * 0.19 * wide + 0.08 * size * across
        points[first : first + 6] = np.stack([x, 0.365 + shift + 0.03 * size * down], 1)
    return np.asarray(points * person.face.shape[1::-1] - 0.5)


def _paint_face(rng: np.random.Generator, place: dict[str, tuple[float, float, float]], aspect: float) -> Floats:
    """(CANVAS, CANVAS, 3) float32 BGR; `aspect` (height / width) keeps an iris round after shrinking."""
    y, x = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32) / CANVAS
    image = np.full((CANVAS, CANVAS, 3), rng.uniform(0.75, 1.05) * np.array(SKIN), np.float32)
    for grain, amount in ((25, 4.0), (7, 5.0), (3.5, 6.0)):  # blotches to pores, for optical flow to follow
        noise = cv2.GaussianBlur(rng.standard_normal(x.shape, dtype=np.float32), (0, 0), grain)
        image += (amount * noise / noise.std())[..., None]
    for feature, parts in FACE.items():
        for part in parts:
            _paint(image, x, y, place[feature], part, aspect)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.35)
    light = 1 + strength * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)) - 0.9 * (x - 0.5) ** 2
    image *= light[..., None]
    _paint_surroundings(rng, image, x, y)
    return image


def _paint(
    image: Floats, x: Floats, y: Floats, place: tuple[float, float, float], part: tuple[Any, ...], aspect: float
) -> None:
    (shift, wide, size), (off, cy, rx, ry, bend, soft, colour, opacity) = place, part
    rx, ry = rx * size * (aspect if rx == ry else 1), ry * size
    for side in SIDES[""] if off else (1,):
        across = (x - 0.5 - side * off * wide) / rx
        radius = np.hypot(across, (y - cy - shift - bend * across**2) / ry)
        image += opacity * _below((radius - 1) * 4 / soft) * (np.array(colour, np.float32) - image)


def _below(a: Floats) -> Floats:
    """A soft `a < 0`, with a last axis for the colours."""
    return np.asarray(1 / (1 + np.exp(np.clip(a, -20, 20)))[..., None])


def _paint_surroundings(rng: np.random.Generator, image: Floats, x: Floats, y: Floats) -> None:
    """Hair above the forehead and dark background beside the jaw, as an aligned crop shows them."""
    jaw, hairline, slant = rng.uniform(0.1, 0.5), rng.uniform(0.02, 0.13), rng.uniform(-0.12, 0.12)
    across = np.abs(x - 0.5) / (0.49 - jaw * np.clip(y - 0.55, 0, 1) ** 2)
    outside = _below((1 - across**2.5 - 4 * np.abs(y - 0.45) ** 4) * 25)
    hair = _below((y - hairline - slant * (x - 0.5) + 0.3 * (x - 0.5) ** 2) * 60)
    strands = cv2.GaussianBlur(rng.standard_normal(x.shape, dtype=np.float32), (0, 0), 1.5, sigmaY=12)[..., None]
    image += outside * (np.array([70, 72, 75], np.float32) - image)
    image += hair * (np.array(HAIR, np.float32) + 80 * strands - image)


def displacement(action_units: int | str, height: int, width: int, person: Person | None = None) -> Floats:
    """How far each point moves at the apex, (H, W, 2) float32 in pixels, x right and y down; `?` moves nothing."""
    field = np.zeros((height, width, 2), np.float32)
    for letter, unit in re.findall(r"([LR]?)(\d+)", str(action_units)):
        size, turn, right, down, strength = _habit(person, int(unit))
        for feature, off, y, dx, dy, rx, ry in BUMPS[int(unit)]:
            shift, wide, _ = person.place[feature] if person else (0, 1, 1)
            move = complex(dx, dy) * np.exp(1j * turn)
            for side in SIDES[letter] if off else (1,):
                centre = (0.5 + side * (off * wide + right), y + shift + down)
                moved = bump(height, width, centre, (side * move.real, move.imag), (rx * size, ry * size))
                field += strength[side] * moved
    return field


def _habit(person: Person | None, unit: int) -> tuple[float, float, float, float, dict[int, float]]:
    """How this person makes this action unit: size, turn (radians), shift in x and y, strength on either side."""
    if person is None:
        return 1.0, 0.0, 0.0, 0.0, {1: 1.0, -1: 1.0}
    rng = np.random.default_rng([*person.key, 2, unit])
    strength = person.gain * rng.lognormal(0, 0.2) * rng.lognormal(0, 0.15, 2)
    right, down = rng.normal(0, 0.016, 2)
    return rng.lognormal(0, 0.15), rng.normal(0, 0.25), right, down, {1: strength[0], -1: strength[1]}


def bump(height: int, width: int, centre: Sequence[float], move: Sequence[float], radius: Sequence[float]) -> Floats:
    """(H, W, 2) float32: a Gaussian bump that moves its centre by `move` 224ths of the image's sides."""
    x = ((np.arange(width) + 0.5) / width - centre[0]) / radius[0]
    y = ((np.arange(height) + 0.5) / height - centre[1]) / radius[1]
    shape = np.outer(np.exp(-0.5 * y**2), np.exp(-0.5 * x**2))[..., None]
    return np.asarray(shape * np.array([move[0] * width / 224, move[1] * height / 224]), np.float32)

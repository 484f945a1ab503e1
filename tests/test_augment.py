import cv2
import numpy as np
import pytest
import torch
from small import texture

from mer_search.config import Flow, Train
from mer_search.data.flow import farneback
from mer_search.training.augment import Moves, augment, draw, mirror, resample

SIZE, EDGE = 96, 14  # Farneback has no whole neighbourhood within EDGE of the border
# Of u and of v: mean absolute difference, and the same as a share of the mean magnitude. Flow that is left where it
# was, a wrong sign or scale, and vectors that are turned the wrong way or not at all differ by more.
PIXELS, SHARE = 0.04, 0.03


def moves(
    flip: bool = False, top: float = 0.0, height: float = 1.0, side: float = 0.0, right: float = 0.0,
    down: float = 0.0, turn: float = 0.0, clips: int = 1,
) -> Moves:  # fmt: skip
    return Moves(*(torch.tensor([value]).expand(clips) for value in (flip, top, height, side, right, down, turn)))


FLIPPED = {"flip": True}
CROPPED = {"top": 0.15, "height": 0.8, "side": 0.05}
BOTH = {"flip": True, "top": 0.05, "height": 0.8, "side": 0.15}
TURNED = {"turn": 0.3}
MOVED = {"right": 0.05, "down": -0.03}
ALL = BOTH | {"turn": 0.1} | MOVED
CHANGES = {"flip": FLIPPED, "crop": CROPPED, "both": BOTH, "turn": TURNED, "move": MOVED, "all": ALL}


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """Two frames (2, 1, H, W): a texture, and the same displaced by about a pixel to the right and upwards."""
    before = texture(4, SIZE)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    u = 1.0 + 0.5 * np.sin(2 * np.pi * (x + 0.5 * y) / SIZE)
    v = -0.8 + 0.4 * np.cos(2 * np.pi * x / SIZE + 0.7)
    after = cv2.remap(before, x - u, y - v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return torch.from_numpy(np.stack([before, after])[:, None])


def measured(frames: torch.Tensor) -> torch.Tensor:
    before, after = frames[:, 0].round().clamp(0, 255).byte().numpy()
    return torch.from_numpy(farneback(before, after, Flow()))[None, None]


def remeasured(frames: torch.Tensor, change: dict) -> torch.Tensor:
    return measured(resample(frames, moves(**change, clips=2)))


def agree(flow: torch.Tensor, expected: torch.Tensor) -> bool:
    inside = (..., slice(EDGE, -EDGE), slice(EDGE, -EDGE))
    difference = (flow - expected)[inside].abs().mean((0, 1, 3, 4))
    magnitude = expected[inside].abs().mean((0, 1, 3, 4))
    return bool((difference < PIXELS).all() and (difference < SHARE * magnitude).all())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_augmented_flow_is_the_flow_of_the_augmented_frames(frames, change):
    assert agree(augment(measured(frames), moves(**change)), remeasured(frames, change))


def test_a_turn_is_clockwise_and_a_move_goes_right_and_down_and_brings_black():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 7] = 1  # right of the middle
    turned = resample(image, moves(turn=np.pi / 2))
    assert turned[0, 0].argmax() == 7 * 9 + 4  # below the middle
    moved = resample(torch.ones(1, 1, 10, 10), moves(right=0.2, down=0.1))[0, 0]
    assert torch.equal(
        moved, torch.ones(10, 10).tril(9).where(torch.arange(10) >= 2, 0) * (torch.arange(10)[:, None] >= 1)
    )


def random_flow(clips: int = 2, components: int = 3) -> torch.Tensor:
    return torch.randn(clips, 2, components, 16, 16, generator=torch.Generator().manual_seed(5))


def test_strain_moves_with_the_image_but_keeps_its_values():
    flow = random_flow()
    change = moves(**BOTH, clips=2)
    torch.testing.assert_close(augment(flow, change)[:, :, 2], resample(flow[:, :, 2], change))
    torch.testing.assert_close(augment(torch.ones_like(flow), change)[:, :, 2], torch.ones(2, 2, 16, 16))


def test_a_flip_mirrors_every_component_and_negates_u_only_and_without_moves_nothing_changes():
    flow = random_flow()
    expected = flow.flip(-1) * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    for vectors in (True, False):
        torch.testing.assert_close(augment(flow, moves(clips=2), vectors), flow, atol=1e-5, rtol=0)
    torch.testing.assert_close(augment(flow, moves(flip=True, clips=2)), expected, atol=1e-5, rtol=0)


def test_a_crop_shows_the_kept_part_of_the_image():
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    top, side = (resample(image[None, None], moves(top=0.25, height=0.5, side=0.25))[0, 0] for image in (rows, columns))
    expected = 10 - 0.25 + 0.5 * torch.arange(40.0)  # pixel k's centre, k + 0.5, lies at 10 + (k + 0.5) / 2
    torch.testing.assert_close(top, expected[:, None].expand(40, 40), atol=1e-4, rtol=0)
    torch.testing.assert_close(side, expected.expand(40, 40), atol=1e-4, rtol=0)


def test_every_clip_gets_its_own_crop():
    flow = random_flow()
    first, second = moves(**FLIPPED), moves(**CROPPED | TURNED)
    mixed = Moves(*(torch.cat(pair) for pair in zip(first, second, strict=True)))
    expected = torch.cat([augment(flow[:1], first), augment(flow[1:], second)])
    torch.testing.assert_close(augment(flow, mixed), expected)


def drawn(**config) -> Moves:
    return draw(2000, Train(**config), torch.Generator().manual_seed(0), 32)


def test_draws_fill_their_ranges_and_stay_within():
    flip, top, height, side, *shift, turn = drawn(crop=0.2)
    assert turn is None and not torch.cat(shift).any()
    assert 0.45 < flip.float().mean() < 0.55
    for values, high in ((top, 0.2), (side, 0.1)):
        assert 0 <= values.min() < 0.01 * high and 0.99 * high < values.max() <= high
    torch.testing.assert_close(height, torch.full((2000,), 0.8))
    assert abs(np.corrcoef([flip.float(), top, side])[np.triu_indices(3, 1)]).max() < 0.1


def test_the_original_augmentation_fills_its_ranges_and_stays_within():
    drawn_moves = drawn(rotate=3.0, pad=0.1, crop=0)
    for values, high in ((drawn_moves.right, 0.1), (drawn_moves.down, 0.1), (drawn_moves.turn, np.deg2rad(3))):
        assert -high <= values.min() < -0.98 * high and 0.98 * high < values.max() <= high


def test_nothing_is_drawn_where_flip_and_crop_are_off():
    flip, top, height, *others, turn = drawn(flip=False, crop=0)
    assert turn is None and not flip.any() and not top.any() and not torch.cat(others).any()
    assert torch.equal(height, torch.ones(2000))


def test_motion_that_is_not_turned_is_what_a_turn_by_nothing_gives():
    flow = random_flow()
    still = moves(**BOTH, clips=2)
    torch.testing.assert_close(augment(flow, still._replace(turn=None)), augment(flow, still), rtol=0, atol=0)


def test_the_mirror_image_of_flow_is_what_the_mirrored_frames_would_give():
    flow = torch.arange(2 * 3 * 4 * 4.0).reshape(1, 2, 3, 4, 4)
    mirrored = mirror(flow)
    assert torch.equal(mirrored[:, :, 0], -flow[:, :, 0].flip(-1))
    assert torch.equal(mirrored[:, :, 1:], flow[:, :, 1:].flip(-1))
    assert torch.equal(mirror(mirrored), flow)

import colorsys
import math
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from mer_search.config import Input
from mer_search.model.channels import IMAGENET_MEAN, IMAGENET_SD, SHEARS, channels, n_channels, strain


@pytest.fixture
def flow() -> torch.Tensor:
    """(B, T, P, H, W) = (2, 3, 3, 12, 10), every map with its own mean and spread."""
    generator = torch.Generator().manual_seed(3)
    mean, spread = (torch.randn(2, 3, 3, 1, 1, generator=generator) for _ in range(2))
    return mean + (0.1 + spread.abs()) * torch.randn(2, 3, 3, 12, 10, generator=generator)


def one(flow: torch.Tensor, letter: str, components: str = "uv") -> torch.Tensor:
    return channels(flow, Input(channels=letter, components=components))


def test_n_reaches_both_ends_of_minus_one_to_one_in_every_map_and_keeps_the_distances_of_pixels(flow):
    low, high = (end(flow.flatten(-2), -1)[..., None, None] for end in (torch.amin, torch.amax))
    torch.testing.assert_close(one(flow, "n", "uvo"), 2 * (flow - low) / (high - low) - 1)


def test_r_is_the_flow_itself(flow):
    assert torch.equal(one(flow, "r", "uvo"), flow)


@pytest.mark.parametrize(("letter", "shape"), [("s", (12, 10)), ("z", (120, 1))])
def test_s_is_what_the_standard_scaler_makes_of_a_maps_columns_and_z_of_all_its_pixels(flow, letter, shape):
    flow[..., 4] = 2.5  # a flat column
    scaled = one(flow, letter, "uvo")
    for index in np.ndindex(*flow.shape[:3]):
        expected = StandardScaler().fit_transform(flow[index].double().numpy().reshape(shape))
        np.testing.assert_allclose(scaled[index].numpy().reshape(shape), expected, atol=1e-5)


@pytest.mark.parametrize("letter", "nrsz")
@pytest.mark.parametrize("value", [0.0, 0.3, -7.7])
def test_a_flat_map_becomes_finite_and_zero_unless_raw(letter, value):
    flat = torch.full((2, 1, 2, 28, 28), value)
    assert one(flat, "hsv").isfinite().all()
    assert torch.equal(one(flat, letter), flat if letter == "r" else torch.zeros_like(flat))


@pytest.mark.parametrize("letter", "nsz")
def test_a_flat_map_does_not_touch_the_map_beside_it(flow, letter):
    still = flow.clone()
    still[:, :, 0] = 0
    result = one(still, letter)
    assert torch.equal(result[:, :, 0], torch.zeros_like(result[:, :, 0]))
    assert torch.equal(result[:, :, 1], one(flow, letter)[:, :, 1])


def test_channels_are_grouped_by_letter_in_the_order_in_which_they_are_written_and_then_by_component(flow):
    n, r = one(flow, "n"), flow[:, :, :2]
    assert torch.equal(n, torch.cat([one(flow, "n", "u"), one(flow, "n", "v")], dim=2))
    for letters, expected in (("nr", [n, r]), ("rn", [r, n])):
        assert torch.equal(one(flow, letters), torch.cat(expected, dim=2))


@pytest.mark.parametrize(("components", "places"), [("vo", [1, 2]), ("o", [2]), ("vu", [1, 0])])
def test_a_subset_of_components_is_picked_by_name(flow, components, places):
    assert torch.equal(one(flow, "r", components), flow[:, :, places])


@pytest.mark.parametrize("letters", ["n", "r", "s", "nr", "ns", "rs", "nrs"])
@pytest.mark.parametrize("components", ["uv", "vo", "uvo"])
def test_n_channels_is_what_channels_gives(flow, letters, components):
    config = Input(channels=letters, components=components)
    assert n_channels(config) == len(letters) * len(components)
    assert channels(flow, config).shape == (2, 3, n_channels(config), 12, 10)


@pytest.mark.parametrize("letter", "nsz")
def test_a_large_uniform_map_with_rounding_on_it_is_flat(letter):
    rounding = 3 + 1e-6 * torch.rand(1, 1, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not channels(rounding, Input(channels=letter)).any()


def _flow(u, v):
    """Flow (1, 1, 2, 1, 2): still at the left, (u, v) at the right."""
    return torch.tensor([[0.0, u], [0.0, v]]).view(1, 1, 2, 1, 2)


@pytest.mark.parametrize(("u", "v"), [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (2, -1), (-3, 2)])
def test_hsv_is_the_colour_wheel(u, v):
    rgb = channels(_flow(float(u), float(v)), Input(channels="hsv"))
    hue = math.atan2(v, u) / (2 * math.pi) % 1
    torch.testing.assert_close(rgb[0, 0, :, 0, 1], torch.tensor(colorsys.hsv_to_rgb(hue, 1, 1)), atol=1e-5, rtol=0)
    torch.testing.assert_close(rgb[0, 0, :, 0, 0], torch.zeros(3), atol=1e-5, rtol=0)


def test_an_rgb_difference_is_that_of_normalised_pictures():
    before, after = torch.rand(2, 1, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    mean, deviation = (torch.tensor(triple).view(3, 1, 1) for triple in (IMAGENET_MEAN, IMAGENET_SD))
    one, two = ((picture / 255 - mean) / deviation for picture in (before, after))
    torch.testing.assert_close(channels(after - before, Input(channels="rgb")), two - one)
    assert n_channels(Input(channels="rgb")) == n_channels(Input(channels="hsv")) == 3


def linear(u, v) -> torch.Tensor:
    """Flow (2, 8, 9) whose components are a x + b y + c, for (a, b, c) each."""
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    return torch.stack([a * x + b * y + c for a, b, c in (u, v)])


@pytest.mark.parametrize(
    ("u", "v", "twice", "once"),
    [
        ((0.0, 0.0, 3.0), (0.0, 0.0, -1.0), 0.0, 0.0),  # a shift
        ((0.0, 0.1, 0.0), (-0.1, 0.0, 0.0), 0.0, 0.0),  # a small turn
        ((0.2, 0.0, 0.0), (0.0, 0.0, 0.0), 0.2, 0.2),  # a stretch along x
        ((0.0, 0.0, 0.0), (0.0, -0.2, 0.0), 0.2, 0.2),  # a squeeze along y
        ((0.1, 0.0, 0.0), (0.0, 0.1, 0.0), 0.02**0.5, 0.02**0.5),  # along both
        ((0.0, 0.2, 0.0), (0.0, 0.0, 0.0), 0.02**0.5, 0.1),  # a shear: e_xy = e_yx = .1
        ((0.0, 0.1, 0.0), (0.3, 0.0, 0.0), 0.08**0.5, 0.2),  # e_xy = .2
        ((0.3, 0.2, 0.0), (0.2, 0.1, 0.0), 0.18**0.5, 0.14**0.5),  # e_xx = .3, e_yy = .1, e_xy = .2
    ],
)
def test_strain_is_what_is_left_without_shifts_and_turns(u, v, twice, once):
    for formula, expected in (("shear_twice", twice), ("shear_once", once)):
        magnitude = strain(linear(u, v), formula)
        torch.testing.assert_close(magnitude, torch.full((1, 8, 9), expected), atol=1e-6, rtol=0)


def test_the_formula_of_the_strain_is_the_configurations():
    assert set(SHEARS) == set(get_args(Input.model_fields["strain"].annotation))
    flow = linear((0.0, 0.2, 0.0), (0.0, 0.0, 0.0))[None, None]
    for formula in SHEARS:
        config = Input(channels="r", components="o", strain=formula)
        torch.testing.assert_close(channels(flow, config), strain(flow, formula))
    assert torch.equal(channels(flow, Input(channels="r", components="o")), strain(flow, "shear_twice"))


def test_clips_have_strain_by_their_flow_and_flow_images_bring_their_own(flow):
    config = Input(channels="r", components="uo")
    assert torch.equal(channels(flow, config), flow[:, :, [0, 2]])
    torch.testing.assert_close(channels(flow[:, :, :2], config)[:, :, 1:], strain(flow[:, :, :2], "shear_twice"))

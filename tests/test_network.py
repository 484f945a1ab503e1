"""The networks of all axes; what those of the presets compute is compared with the published code in test_public.py."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mer_search.config import Run, with_values
from mer_search.model import blocks
from mer_search.model.blocks import KEEP_PATH, CABlock, SpatialConv, TemporalConv, Time
from mer_search.model.flops import cost
from mer_search.model.network import Network, averaged

SMALL = {"flow.size": 32, "frames.maps": 2, "model.stem_mid": 3, "model.stem_width": 5, "model.attention_width": 4}


def _build(clips=3, **values):
    """A small network and random input for it."""
    run = with_values(Run(), SMALL | {key.replace("__", "."): value for key, value in values.items()})
    network = Network(run)
    maps = torch.randn(clips, run.frames.maps, 4, run.flow.size, run.flow.size)
    return network, maps, torch.rand(clips, 3, network.grid, network.grid)


@pytest.mark.parametrize("size", [16, 28, 32, 48])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_clip_gets_one_logit_a_class(size, blocks, stride):
    network, maps, onset = _build(flow__size=size, model__blocks=blocks, model__stem_stride=stride)
    with torch.no_grad():
        assert network(maps, onset).shape == (3, 5)


AXES = [
    {"model__temporal": "keep", "frames__maps": 3},
    {"model__temporal": "keep", "frames__maps": 4},
    {"model__temporal": "none", "frames__maps": 1},
    {"model__attention": False},
    {"model__depth": 3, "model__blocks": 2},
    {"model__position_depth": 1},
    {"model__position_width": 8, "model__position_depth": 3},
    {"units__use": "as_they_are"},
    *(
        {"frames__maps": maps, "model__position": position, "model__head_grid": head_grid}
        for maps, position, head_grid in product((1, 2, 3, 4), (True, False), (0, 1, 3))
    ),
]


@pytest.mark.parametrize("values", AXES, ids=str)
def test_every_parameter_gets_a_finite_gradient(values):
    network, x, onset = _build(4, **values)
    out = network(x, onset if values.get("model__position", True) else None)
    assert out.shape == (4, 5)
    F.cross_entropy(out, torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.any(), name


@pytest.mark.parametrize("values", [{}, {"model__temporal": "keep", "frames__maps": 4}])
def test_nothing_is_done_in_place_on_what_was_seen_otherwise(values):
    """Autograd would copy the gradient of all of it."""
    network, x, onset = _build(**values)
    nodes, met = [network(x, onset).grad_fn], set()
    while nodes:
        met.add(node := nodes.pop())
        nodes += [each for each, _ in node.next_functions if each is not None and each not in met]
    assert not [node for node in met if "CopySlices" in node.name()] and len(met) > 100


def test_no_two_axes_make_the_same_network():
    shapes = {str([(key, item.shape) for key, item in _build(**values)[0].state_dict().items()]) for values in AXES}
    assert len(shapes) == len(AXES) - 1  # `keep` is the same of 3 and of 4 maps


def test_further_blocks_of_a_stage_keep_its_size_and_a_block_without_attention_is_a_residual_block():
    network, *_ = _build(model__depth=2)
    assert [block.stride for block in network.blocks] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert network.grid == _build()[0].grid
    block = CABlock(3, 3, 1, attention=False).eval()
    x = torch.randn(2, 1, 3, 8, 8)
    features, attention = block(x, None)
    assert attention is None
    torch.testing.assert_close(features, F.relu(block.body(x) + x))


def test_temporal_convolutions_start_as_their_3d_forms_do():
    network, *_ = _build(frames__maps=4, model__stem_mid=64, model__stem_width=96)
    weight = network.external[2][0].weight  # a kernel of 4 over time: fan-out is 4 * 96
    assert weight.std().item() == pytest.approx((2 / (4 * 96)) ** 0.5, rel=0.02)


def test_all_logits_depend_on_motion_and_onset():
    network, maps, onset = _build()
    network.eval()
    out = network(maps, onset)
    assert (network(maps, onset.flip(-1)) != out).all()
    assert (network(maps.flip(1), onset) != out).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_batch_of_one_works(training):
    network, maps, onset = _build(1)
    assert torch.isfinite(network.train(training)(maps, onset)).all()


def test_a_clip_is_judged_alone_when_evaluated():
    network, maps, onset = _build(3)
    network.eval()
    alone = torch.cat([network(maps[i : i + 1], onset[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(maps, onset), alone, rtol=1e-4, atol=1e-5)


def _plain(convolution, kernel, stride, padding):
    """nn.Conv3d and nn.BatchNorm3d with the weights of a folded convolution, on (B, C, T, H, W)."""
    folded, norm = convolution
    channels, bias = folded.in_channels // kernel[0], folded.bias is not None
    plain = nn.Conv3d(channels, folded.out_channels, kernel, stride, padding, bias=bias).double()
    weight = folded.weight.unflatten(1, (kernel[0], -1)).transpose(1, 2)  # (out, C, kernel over T, kernel, kernel)
    after = nn.BatchNorm3d(folded.out_channels).double()
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    after.load_state_dict(norm.state_dict())
    with torch.no_grad():
        plain.weight.copy_(weight)
        if folded.bias is not None:
            plain.bias.copy_(folded.bias)
    return nn.Sequential(plain, after)


def _agree(folded, plain, x):
    """The folded module on (B, T, C, H, W) gives what the plain one gives on (B, C, T, H, W), training and not."""
    for training in (True, False):
        expected = plain.train(training)(x.transpose(1, 2)).transpose(1, 2)
        torch.testing.assert_close(folded.train(training)(x), expected, rtol=0, atol=1e-10)
        assert expected.any()


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("outputs", [1, 5])
@pytest.mark.parametrize("gpu", ["cuda", "cpu"])
def test_a_spatial_convolution_is_a_3d_one_that_leaves_the_maps_apart(gpu, outputs, stride, kernel, size, monkeypatch):
    monkeypatch.setattr(blocks, "GPU", gpu)  # as it computes, tried on a CPU
    folded = SpatialConv(2, outputs, kernel, stride).double()
    plain = _plain(folded, (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2))
    _agree(folded, plain, torch.randn(4, 3, 2, size, size, dtype=torch.float64))


def test_attention_on_a_gpu_does_not_make_features_single_precision(monkeypatch):
    monkeypatch.setattr(blocks, "GPU", "cpu")
    with torch.autocast("cpu", torch.bfloat16):
        x, _ = CABlock(4, 4, 1)(torch.randn(2, 1, 4, 8, 8).bfloat16(), None)
    assert x.dtype is torch.bfloat16


@pytest.mark.parametrize("time", [Time(4), Time(3, 1, 1), *KEEP_PATH, Time(1, 2)], ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("gpu", ["cuda", "cpu"])
def test_a_temporal_convolution_is_a_3d_one(gpu, time, bias, monkeypatch):
    monkeypatch.setattr(blocks, "GPU", gpu)  # as it computes, tried on a CPU
    folded = TemporalConv(3, 5, time, bias).double()
    plain = _plain(folded, (time.kernel, 1, 1), (time.stride, 1, 1), (time.padding, 0, 0))
    x = torch.randn(4, 4, 3, 6, 6, dtype=torch.float64)
    _agree(folded, plain, x)


@pytest.mark.parametrize("time", [Time(3, 1, 1), Time(3)])
@pytest.mark.parametrize("training", [True, False])
def test_zeros_in_further_channels_change_nothing(training, time, monkeypatch):
    """As on a GPU, whose units want a multiple of 8 channels: 5 become 8, and the next convolution takes them."""
    x, found = torch.randn(4, 3, 2, 6, 6, dtype=torch.float64), []
    for device in ("cuda", "cpu"):
        monkeypatch.setattr(blocks, "GPU", device)
        torch.manual_seed(0)
        modules = nn.Sequential(SpatialConv(2, 5, 3, 2, aligned=True, relu=True), TemporalConv(5, 9, time))
        out = modules.double().train(training)(x)
        out.square().sum().backward()
        assert modules[0](x).shape[2] == (8 if device == "cpu" else 5)
        found.append(([parameter.grad for parameter in modules.parameters()], [out.detach(), *modules.buffers()]))
    (gradients, results), (aligned_gradients, aligned_results) = found
    torch.testing.assert_close(aligned_gradients, gradients, rtol=0, atol=1e-9)
    torch.testing.assert_close(aligned_results, results, rtol=0, atol=1e-12)


def test_the_position_branch_tells_every_cell_from_the_others():
    out = blocks.PositionBranch(8, grid=3, depth=2, inner=0, ratio=4, drop=0.0)(torch.full((2, 3, 3, 3), 0.5))
    assert out.shape == (2, 8, 3, 3)
    assert torch.cdist(out[0].flatten(1).T, out[0].flatten(1).T).fill_diagonal_(1).min() > 1e-3


def test_the_network_of_224_pixels_ends_in_a_grid_of_14():
    with torch.device("meta"):
        network = Network(Run())
    assert (network.grid, network.head.in_features) == (14, 1024 * 14**2)
    assert cost(Run())[0] == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("size", "grid"), [(14, 7), (8, 1), (14, 4), (7, 5), (3, 5)])
def test_averaged_is_adaptive_average_pooling(size, grid):
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(averaged(x, grid), F.adaptive_avg_pool2d(x, grid))

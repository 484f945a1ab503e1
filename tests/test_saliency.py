import pytest
import torch
from small import NARROW

from mer_search.config import Run, with_values
from mer_search.inference.saliency import saliency
from mer_search.model.network import Network
from mer_search.training.predict_proba import network_input

SMALL = NARROW | {"frames.maps": 1, "input.channels": "r", "model.position": False, "model.blocks": 1}


def _build(**values):
    """A small network and the motion of three clips."""
    run = with_values(Run(), SMALL | {key.replace("__", "."): value for key, value in values.items()})
    return Network(run).eval(), run, torch.randn(3, run.frames.maps, 2, 32, 32)


CLASSES = torch.tensor([0, 4, 2])


def test_a_logit_that_depends_on_one_place_lights_up_there_alone():
    network, run, flow = _build()
    weights = torch.zeros(5, 4, network.grid, network.grid)
    weights[:, :, 3, 12] = 1.0
    network.head.weight.data = weights.flatten(1)
    cam = saliency(network, run, flow, None, CLASSES).grad_cam
    assert cam.shape == (3, 16, 16)
    assert (cam[:, 3, 12] > 0).all()
    cam[:, 3, 12] = 0
    assert not cam.any()


def test_what_all_places_say_is_the_logit():
    network, run, flow = _build()
    network.head.weight.data.abs_()  # nothing speaks against a class, for features are at least 0
    cam = saliency(network, run, flow, None, CLASSES).grad_cam
    logits = network(network_input(run, flow, None, network.grid)[0]) - network.head.bias
    torch.testing.assert_close(cam.sum((1, 2)), logits.gather(1, CLASSES[:, None])[:, 0].detach())


def test_where_the_head_pools_all_places_it_is_grad_cam_as_published():
    network, run, flow = _build(model__head_grid=1)
    maps, _ = network_input(run, flow, None, network.grid)
    features = network.blocks[0](network.internal(network.external(maps)), None)[0].detach()  # (B, 1, C, G, G)
    weights = network.head.weight[CLASSES].detach() / 16**2  # the gradient's mean over places
    published = (weights[:, :, None, None] * features[:, 0]).sum(1).relu()
    torch.testing.assert_close(saliency(network, run, flow, None, CLASSES).grad_cam, published)


def test_attention_is_what_the_blocks_return():
    network, run, flow = _build(model__blocks=3, frames__maps=4)
    x, attention, returned = network_input(run, flow, None, network.grid)[0], None, []
    x = network.internal(network.external(x))
    for block in network.blocks:
        x, attention = block(x, attention)
        returned.append(attention[:, 0, 0].detach())
    found = saliency(network, run, flow, None, CLASSES).attention
    assert [map_.shape[-1] for map_ in found] == [16, 8, 4]
    for map_, expected in zip(found, returned, strict=True):
        torch.testing.assert_close(map_, expected)


@pytest.mark.parametrize("maps", [3, 4])
def test_maps_that_are_kept_apart_are_seen_as_one(maps):
    network, run, flow = _build(model__temporal="keep", model__blocks=4, frames__maps=maps)
    found = saliency(network, run, flow, None, CLASSES)
    assert found.grad_cam.shape == (3, 8, 8)
    assert [map_.shape for map_ in found.attention] == [(3, side, side) for side in (16, 8, 4, 2)]


def test_grad_cam_is_of_the_last_block_that_still_tells_where():
    assert _places(model__blocks=4) == 8  # of 16, 8, 4 and 2
    assert _places(model__blocks=4, flow__size=112) == 7
    assert _places(model__blocks=2, flow__size=16) == 8  # of 8 and 4


def _places(**values):
    network, run, _ = _build(**values)
    flow = torch.randn(1, 1, 2, run.flow.size, run.flow.size)
    return saliency(network, run, flow, None, CLASSES[:1]).grad_cam.shape[-1]


def test_without_attention_there_is_grad_cam_alone():
    network, run, flow = _build(model__attention=False)
    found = saliency(network, run, flow, None, CLASSES)
    assert found.attention == ()
    assert found.grad_cam.any()


def test_the_position_branch_is_looked_past():
    network, run, flow = _build(model__position=True)
    onset = torch.rand(3, 3, 32, 32) * 255
    assert saliency(network, run, flow, onset, CLASSES).grad_cam.any()


def test_the_network_is_left_as_it_was_and_a_frozen_one_gives_the_same():
    network, run, flow = _build(model__blocks=2)
    found = saliency(network, run, flow, None, CLASSES)
    assert not any(block._forward_hooks for block in network.blocks)
    assert all(parameter.grad is None for parameter in network.parameters())
    with torch.no_grad():  # as judging is done
        frozen = saliency(network.requires_grad_(False), run, flow, None, CLASSES)
    torch.testing.assert_close(frozen.grad_cam, found.grad_cam)
    with pytest.raises(IndexError):
        saliency(network, run, flow[:, :, :1], None, CLASSES)
    assert not any(block._forward_hooks for block in network.blocks)

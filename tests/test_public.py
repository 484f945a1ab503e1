"""Public weights give in our network what they give in the public one, and wrong ones are refused by name."""

import copy

import pytest
import torch
from torch import nn

from mer_search.bench.conventional import public_network
from mer_search.config import with_values
from mer_search.errors import UsageError
from mer_search.model.channels import NORMALISATIONS, channels
from mer_search.model.network import Network
from mer_search.model.public import UNUSED, load_public_weights
from mer_search.presets import PRESETS, PUBLIC, preset

SMALL = {
    "flow.size": 32,
    "model.stem_mid": 3,
    "model.stem_width": 5,
    "model.internal_mid": 6,
    "model.attention_width": 4,
    "model.position_drop": 0.0,
}
FC = "main_branch.fc.bias"
ORDER = {  # the channels of each preset in the public scripts' order
    "n": "n_u n_v", "r": "r_u r_v", "s": "s_u s_v", "nr": "n_u r_u r_v n_v", "rs": "r_u s_u s_v r_v",
    "ns": "n_u s_u s_v n_v", "nrs": "r_u n_u s_u s_v n_v r_v",
}  # fmt: skip


def _pair(name, values=SMALL, grid=2):
    """The run, our network and the public one of a preset."""
    run = with_values(preset(name), values)
    return run, Network(run, units=7), public_network(run, grid, units=7)


def _random(public):
    """Weights, biases and running statistics that a trained network might have."""
    torch.manual_seed(0)
    public.double()
    for name, tensor in public.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif tensor.ndim < 2:
            tensor.normal_(0.3, 0.5)
        else:
            tensor.normal_(0, tensor[0].numel() ** -0.5)
    return public


def _inputs(run):
    """The same motion as our channels and as the public ones."""
    flow = torch.randn(3, run.frames.maps, 3 if run.input.channels == "rgb" else 2, 32, 32, dtype=torch.float64)
    ours = channels(flow, run.input)
    if run.input.channels not in ORDER:
        return ours, ours
    normalised = {letter: NORMALISATIONS[letter](flow) for letter in run.input.channels}
    public = [normalised[name[0]][:, :, "uv".index(name[2])] for name in ORDER[run.input.channels].split()]
    return ours, torch.stack(public, dim=2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", PRESETS)
def test_public_weights_give_the_public_logits(name, training):
    run, network, public = _pair(name)
    load_public_weights(network.double(), _random(public).state_dict())
    ours, theirs = _inputs(run)
    onset = torch.rand(3, 3, 2, 2, dtype=torch.float64)
    expected = public.train(training)(theirs, onset)
    assert expected.std() > 0.1
    torch.testing.assert_close(network.train(training)(ours, onset), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "V6c"])  # whose figure is calculated
def test_the_reference_has_the_public_parameters(name):
    with torch.device("meta"):
        *_, public = _pair(name, PUBLIC[name].values, grid=14)
    used = [weight for key, weight in public.named_parameters() if not key.startswith(tuple(UNUSED))]
    assert sum(weight.numel() for weight in used) == PUBLIC[name].parameters
    if name == "MMNet":
        assert sum(weight.numel() for weight in public.pos.parameters()) == 2560  # of an older position branch


def test_names_of_a_data_parallel_network_are_understood():
    _, network, public = _pair("V3NR")
    state = _random(public).state_dict()
    load_public_weights(network, {f"module.{name}": weight for name, weight in state.items()})
    assert torch.equal(network.head.weight, state["main_branch.fc.weight"].float())


def test_weights_that_are_never_used_may_be_left_out():
    _, network, public = _pair("MMNet")
    state = {name: weight for name, weight in public.state_dict().items() if not name.startswith(tuple(UNUSED))}
    assert len(state) < len(public.state_dict())
    load_public_weights(network, state)


def _refused(network, state, message):
    """The message, and a network that is as it was before."""
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(UsageError, match=message):
        load_public_weights(network, state)
    assert all(torch.equal(before[name], weight) for name, weight in network.state_dict().items())


REFUSED = {
    "missing names": (
        lambda state: {name: state[name] for name in state if name not in ("conv_act.1.running_var", FC)},
        r"lack conv_act\.1\.running_var, main_branch\.fc\.bias; build",
    ),
    "only the first few of many": (
        lambda state: {name: state[name] for name in state if not name.startswith("main_branch.layer4")},
        r"lack (main_branch\.layer4\S+, ){2}\S+ and 21 more; build",
    ),
    "unknown names": (
        lambda state: state | {"main_branch.embedau.weight": torch.zeros(2, 64)},
        r"hold the unknown main_branch\.embedau\.weight; build",
    ),
    "a file's outer dictionary": (
        lambda state: {"state_dict": state},
        "the unknown state_dict; .* pass the names and tensors",
    ),
    "another version": (
        lambda state: _pair("V1")[2].state_dict(),
        r"lack main_branch\.bn1\.bias, .* hold the unknown main_branch\.stem\.0\.weight",
    ),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_weights_with_other_names_are_refused_by_name(change, message):
    _, network, public = _pair("V3NR")
    _refused(network, change(public.state_dict()), message)


@pytest.mark.parametrize("shape", [(5, 3, 2, 1, 1), (5, 6, 2, 1, 1), (5, 12, 1, 1)])
def test_wrong_shapes_are_named(shape):
    _, network, public = _pair("V3NR")
    state = public.state_dict() | {"conv_act.3.weight": torch.zeros(shape)}
    found = rf"conv_act\.3\.weight \({', '.join(map(str, shape))}\) instead of \(5, 3, 4, 1, 1\)"
    _refused(network, state, found + ".*stem_mid = 128")


def test_a_network_that_was_never_published_is_refused():
    _, network, public = _pair("V3NR")
    network.extra = nn.Linear(2, 2)
    _refused(network, public.state_dict(), r"also has extra\.weight, extra\.bias; start from their presets")


def test_channels_that_were_never_published_are_refused():
    _, network, public = _pair("V3NR", SMALL | {"input.channels": "nrsz"})
    _refused(network, public.state_dict(), "have 2, 3, 4, 6 input channels, but this one has 8; change input.channels")

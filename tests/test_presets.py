"""The published networks: parameters and FLOP as measured on the public code at 224 pixels."""

import pytest
import torch
from small import NARROW, silent, write_casme2
from torch.utils.flop_counter import FlopCounterMode

from mer_search.config import with_values
from mer_search.errors import UsageError
from mer_search.model.channels import n_channels
from mer_search.model.flops import cost
from mer_search.model.network import Network
from mer_search.presets import PRESETS, PUBLIC, preset
from mer_search.search.workspace import load_data
from mer_search.training.loop import train_fold


@pytest.mark.parametrize("name", PUBLIC)
def test_cost_equals_the_public_code(name):
    public = PUBLIC[name]
    parameters, flop = cost(with_values(preset(name), public.values))
    assert parameters == public.parameters
    if public.gflop:
        assert float(f"{flop / 1e9:.4g}") == public.gflop


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"model.depth": 2},
        {"model.position_width": 8, "model.stem_kernel": 5},
        {"model.attention": False, "model.stem_stride": 1, "model.blocks": 3},
    ],
)
@pytest.mark.parametrize("name", ["V3NR", "V1", "V6", "MMNet"])
def test_operations_are_counted_as_torch_counts_them(name, values):
    if name == "V1" and {"model.depth", "model.blocks"} & set(values):
        pytest.skip("not with its maps")
    run = with_values(preset(name), NARROW | {"flow.size": 48} | values)
    with torch.device("meta"), torch.no_grad():
        network = Network(run)
        maps = torch.empty(1, run.frames.maps, n_channels(run.input), 48, 48)
        with FlopCounterMode(display=False) as counter:
            network.eval()(maps, torch.empty(1, 3, network.grid, network.grid))
    assert cost(run) == (sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops())


def test_the_public_code_was_measured_for_every_kind_of_network():
    kinds = {(preset(name).model.temporal, preset(name).model.widths) for name in PRESETS}
    assert kinds == {(preset(name).model.temporal, preset(name).model.widths) for name in PUBLIC}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs_forward_and_backward(name):
    run = with_values(preset(name), NARROW | {"model.position_drop": 0.0})  # a block that is dropped learns nothing
    network = Network(run)
    maps = torch.randn(2, run.frames.maps, n_channels(run.input), 32, 32)
    onset = torch.rand(2, 3, network.grid, network.grid)
    network(maps, onset).square().sum().backward()
    if run.units.use == "thresholded":  # its action units learn in the first stage alone
        assert all(parameter.grad is None for parameter in network.units.parameters())
        network.units(network.features(maps, onset)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in network.parameters())


def _kind(run):
    return run.flow.method, run.prep.mask, run.model.temporal, run.units, run.train.loss, run.data.task, run.frames


AS_PUBLISHED = {"prep.mask": "none", "frames.crops": 2, "train.batch": 3}
KINDS = [(name, "", {}) for name in {_kind(preset(name)): name for name in PRESETS}.values()]


@pytest.mark.parametrize(("name", "recipe", "values"), [*KINDS, ("V1", "published", AS_PUBLISHED)])
def test_a_preset_of_every_kind_trains_a_fold_of_clips(name, recipe, values, tmp_path):
    """As published MMNet, V3NR and V6 do in test_reproduce.py."""
    write_casme2(tmp_path, 2, per_subject=2)
    small = NARROW | {"prep.size": 32, "train.epochs": 1, "train.batch": 2, "units.epochs": 1}
    run = with_values(preset(name, recipe), small | values)
    loaded = load_data(tmp_path, run, silent)
    trained = train_fold(loaded.run, loaded.tensors, "sub01", 0)
    assert trained.predictions.probabilities.shape == (1, 2, 3 if name == "MMNet-3" else 5)


@pytest.mark.parametrize(
    ("name", "meant"), [("V3", "V3NR"), ("v6x", "V6"), ("ablation-C", "ablation-"), ("V5dd", "V5d'")]
)
def test_an_unknown_preset_lists_the_known_and_the_one_that_is_meant(name, meant):
    with pytest.raises(UsageError, match=f"V3NR, .*'{name}'; did you mean '{meant}"):
        preset(name)

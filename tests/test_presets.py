"""The published networks: parameters and FLOP as measured on the public code at 224 pixels."""

import pytest
import torch
from conftest import silent, write_casme2

from mer_search.config import with_values
from mer_search.errors import UsageError
from mer_search.model.channels import n_channels
from mer_search.model.network import Network, cost
from mer_search.presets import PRESETS, preset
from mer_search.search.workspace import load_data
from mer_search.training.loop import train_fold

PUBLIC_STEM = {"model.stem_mid": 128}  # TM-MMNET's public V3 and V4; the specification says 180


@pytest.mark.parametrize(
    ("name", "values", "parameters", "gflop"),
    [
        ("V3NR", PUBLIC_STEM, 36_381_973, 54.63),
        ("V3N", PUBLIC_STEM, 36_379_669, None),
        ("V3NRS", PUBLIC_STEM, 36_384_277, None),
        ("V4", PUBLIC_STEM, 9_657_621, 20.25),
        ("V5NR", {}, 142_859_981, 212.8),
        ("MMNet", {}, 9_438_841, 14.42),
        ("V1", {}, 49_416_353, 313.3),
        ("V2", {}, 49_415_201, 313.2),
    ],
)
def test_cost_equals_the_public_code(name, values, parameters, gflop):
    found_parameters, flop = cost(with_values(preset(name), values))
    assert found_parameters == parameters
    if gflop:
        assert flop / 1e9 == pytest.approx(gflop, abs=0.05 if gflop > 100 else 0.005)


SMALL = {
    "flow.size": 32,
    "model.stem_mid": 4,
    "model.stem_width": 4,
    "model.internal_mid": 4,
    "model.attention_width": 4,
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs_forward_and_backward(name):
    run = with_values(preset(name), SMALL)
    network = Network(run)
    maps = torch.randn(2, run.frames.maps, n_channels(run.input), 32, 32)
    network(maps, torch.rand(2, 3, network.grid, network.grid)).square().sum().backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_a_fold_of_clips(name, tmp_path):
    write_casme2(tmp_path, 2, per_subject=2)
    run = with_values(preset(name), SMALL | {"prep.size": 32, "train.epochs": 1, "train.batch": 2})
    loaded = load_data(tmp_path, run, silent)
    trained = train_fold(loaded.run, loaded.tensors, "sub01", 0)
    assert trained.predictions.probabilities.shape == (1, 2, 5)


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(UsageError, match=r"V3NR, .*'V9'"):
        preset("V9")

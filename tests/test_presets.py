"""The published networks: parameters and FLOP as measured on the public code at 224 pixels."""

import pytest

from mer_search.config import with_values
from mer_search.errors import UsageError
from mer_search.model.network import cost
from mer_search.presets import PRESETS, preset

PUBLIC_STEM = {"model.stem_mid": 128}  # TM-MMNET's public V3 and V4; the specification says 180


@pytest.mark.parametrize(
    ("name", "values", "parameters", "gflop"),
    [
        ("V3NR", PUBLIC_STEM, 36_381_973, 54.63),
        ("V3N", PUBLIC_STEM, 36_379_669, None),
        ("V3NRS", PUBLIC_STEM, 36_384_277, None),
        ("V4", PUBLIC_STEM, 9_657_621, 20.25),
        ("V5NR", {}, 142_859_981, 212.8),
    ],
)
def test_cost_equals_the_public_code(name, values, parameters, gflop):
    found_parameters, flop = cost(with_values(preset(name), values))
    assert found_parameters == parameters
    if gflop:
        assert flop / 1e9 == pytest.approx(gflop, abs=0.05 if gflop > 100 else 0.005)


def test_every_preset_is_a_run():
    for name in PRESETS:
        assert preset(name).input.components == "uv"


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(UsageError, match=r"V3NR, .*'V9'"):
        preset("V9")

"""The published networks as values: dotted paths into Run, with the figure that was published and its source.

A preset is the network of the specification in this tool's own recipe. What the public code does otherwise, in its
frames, its augmentation, its initialisation, its training and its V6, is the recipe "published": an overlay of values,
one for each deviation. docs/parity.md lists them with their sizes.
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mer_search.config import Run, Value, value_at, with_values
from mer_search.errors import UsageError

TM_MMNET = "TM-MMNET, public code and specification"


Values = dict[str, Value]


class Preset(NamedTuple):
    """`published_f1` is macro F1 on CASME II, 5 classes, with the epoch picked on the test subject; None if unknown.
    Of epochs with the same F1, `ties` says which the public code picks (metrics.PUBLISHED_RULES)."""

    values: Mapping[str, Value]
    published_f1: float | None = None
    source: str = TM_MMNET
    ties: str = "earliest"


_V3: Values = {"model.stem_mid": 180, "model.stem_width": 256, "model.attention_width": 256}
_V4: Values = _V3 | {"model.attention_width": 128}
_V5: Values = {"model.stem_mid": 180, "model.stem_width": 512, "model.attention_width": 512}
_KEEP: Values = {
    "model.temporal": "keep", "model.stem_mid": 128, "model.stem_width": 180, "model.internal_mid": 210,
    "model.attention_width": 256,
}  # fmt: skip
_MMNET: Values = {"model.temporal": "none", "model.stem_width": 180, "model.attention_width": 128}
_70: Values = {"train.epochs": 70, "train.batch": 32}
_74: Values = {"train.epochs": 74, "train.batch": 32}
_100: Values = {"train.epochs": 100, "train.batch": 36}
_V6: Values = {"train.epochs": 80, "train.batch": 36}  # of the second stage; the first has Units' own 70
_FOCAL: Values = {"train.loss": "focal"}
_UNITS: Values = {"units.use": "as_they_are"}
_ONE_MAP: Values = {"frames.middle": "apex", "frames.maps": 1}  # from onset to apex
_DIFFERENCE: Values = {"flow.method": "difference", "input.channels": "rgb"}
_ORIGINAL: Values = {"train.crop": 0.0, "train.rotate": 3.0, "train.pad": 15 / 224}  # MMNet's augmentation
_MMNET_3: Values = _DIFFERENCE | {"data.task": "3"} | _ONE_MAP | {"frames.jitter": 0.2} | _MMNET | {
    "model.position_depth": 3, "model.position_mlp": 2, "model.position_drop": 0.3, "train.epochs": 99,
    "train.batch": 24, "train.weight_decay": 0.7, "train.crop": 0.0, "train.rotate": 4.0, "train.pad": 4 / 224,
}  # fmt: skip
_MASKED: Values = {"prep.denoise": 4.0, "prep.mask": "template"}  # TM-MMNET's frames


def _tm(published_f1: float | None, channels: str, values: Values, ties: str = "earliest") -> Preset:
    """A network of TM-MMNET: on denoised and masked frames, with the new augmentation."""
    return Preset(_MASKED | {"input.channels": channels} | values, published_f1, ties=ties)


PRESETS: dict[str, Preset] = {
    "MMNet": Preset(
        _DIFFERENCE | _ONE_MAP | _MMNET | _74 | _ORIGINAL,
        0.8676,
        "MMNet: Li, Sui, Zhu, Zhao, IJCAI 2022, and its public code",
        "latest",
    ),
    # Its public code for three classes, which also takes sadness and fear for negative, and cuts the first convolution
    # into two groups, which three channels do not allow.
    "MMNet-3": Preset(_MMNET_3, source="MMNet's public code, CASME2_3.py", ties="latest"),
    "V1": _tm(0.8018, "nr", _KEEP | _70, "latest"),
    "V2": _tm(0.7817, "hsv", _KEEP | _70, "latest"),
    "V3N": _tm(None, "n", _V3 | _100),
    "V3R": _tm(None, "r", _V3 | _100),
    "V3S": _tm(None, "s", _V3 | _100),
    "V3NR": _tm(0.8650, "nr", _V3 | _100),
    "V3RS": _tm(0.8227, "rs", _V3 | _100),
    "V3NS": _tm(0.8273, "ns", _V3 | _100),
    "V3NRS": _tm(0.8262, "nrs", _V3 | _100),
    "V4": _tm(None, "nr", _V4 | _100 | {"train.batch": 32}),
    "V5N": _tm(None, "n", _V5 | _100),
    "V5R": _tm(None, "r", _V5 | _100),
    "V5S": _tm(None, "s", _V5 | _100),
    "V5NR": _tm(0.8290, "nr", _V5 | _100),
    "V5RS": _tm(None, "rs", _V5 | _100),
    "V5NS": _tm(0.8180, "ns", _V5 | _100),
    "V5NRS": _tm(None, "nrs", _V5 | _100),
    "V5d": _tm(None, "nr", _V5 | _100 | _FOCAL),
    "V6": _tm(None, "nr", _V5 | _V6 | _UNITS),
    "V6c": _tm(None, "nr", _V5 | _V6 | {"units.use": "thresholded"}),
    "V6d": _tm(None, "nr", _V5 | _V6 | _FOCAL | _UNITS),
    # The original architecture on new data, one flow map from onset to apex; and the new one (V3) on original data.
    "ablation-A": _tm(None, "nr", _MMNET | _ONE_MAP | _74),
    "ablation-B": Preset(_DIFFERENCE | {"frames.middle": "apex"} | _V3 | _100 | _ORIGINAL),
}
ALIASES = {"V5": "V5NR", "V5b": "V5NS"}  # the specification's names

RECIPES = ("", "published")  # "" is this tool's own
DEVIATIONS = {  # of this tool from the public code, by their numbers in docs/parity.md: paths that take them back
    "D1, D2": ("frames.crops",), "D3": ("flow.grey",), "D4": ("input.antialias",), "D5": ("model.init",),
    "D6": ("train.last_batch",), "D7": ("prep.denoiser", "prep.resize"), "D8": ("prep.mask",),
    "D9": ("frames.jitter_apex",), "D10": ("prep.resize", "train.resampling"), "D12": ("train.plateau",),
    "D13": ("units.unfreeze",), "D14": ("units.vocabulary", "units.unknown", "units.chosen_by"),
    "D15": ("units.f1_over",),
    "D16": ("units.epochs", "train.epochs", "units.unfreeze_epoch"), "D17": ("model.stem_mid",),
    "D20": ("train.seeding",), "D22": ("input.colours",),
}  # fmt: skip
_CODE: Values = {"input.antialias": False, "model.init": "published", "train.last_batch": "smaller"}  # of both
_MMNET_CODE: Values = _CODE | {"frames.jitter_apex": True, "prep.resize": "pillow", "train.resampling": "nearest"}
_TM_CODE: Values = _CODE | {
    "prep.resize": "linear", "prep.denoiser": "notebook", "prep.mask": "notebook", "flow.grey": "swapped",
    "frames.crops": 100,  # there, a copy is drawn whenever a clip is asked for: one an epoch
    "train.plateau": 51, "train.seeding": "stream",
}  # fmt: skip
_V6_CODE: Values = {
    "train.epochs": 70, "train.plateau": 50, "units.epochs": 80, "units.unfreeze_epoch": 35,
    "units.unfreeze": "statistics", "units.vocabulary": "all", "units.unknown": "unit", "units.f1_over": "all",
    "units.chosen_by": "test",
}  # fmt: skip
_PUBLIC_STEM: Values = {"model.stem_mid": 128}  # of V3 and V4


PUBLISHED_MARK = 0.8676  # the best published macro F1 on CASME II, 5 classes, by the best test epoch: MMNet's
PUBLISHED_BY_SUBJECT = {  # macro F1 of hard subjects alone, by the same rule. Source: the specification
    "V4": {
        "sub05": 0.507, "sub16": 0.600, "sub07": 0.667, "sub03": 0.750, "sub06": 0.667, "sub17": 0.768, "sub20": 0.694,
    },
    "V5NR": {"sub05": 0.564, "sub16": 0.600, "sub07": 0.649, "sub03": 0.657, "sub06": 0.678},
    "V6": {"sub05": 0.521, "sub16": 0.600, "sub07": 0.678, "sub03": 0.750, "sub06": 1.000},
}  # fmt: skip


class Measured(NamedTuple):
    """What was measured on the public code at 224 pixels."""

    parameters: int  # that the forward pass uses
    gflop: float | None = None  # one clip, forward, four digits; None where only parameters were measured
    values: Mapping[str, Value] = MappingProxyType({})  # where the public code is not the preset


PUBLIC: dict[str, Measured] = {
    "MMNet": Measured(9_438_841, 14.42),
    "V1": Measured(49_416_353, 313.3),
    "V2": Measured(49_415_201, 313.2),
    "V3N": Measured(36_379_669, None, _PUBLIC_STEM),
    "V3NR": Measured(36_381_973, 54.63, _PUBLIC_STEM),
    "V3NRS": Measured(36_384_277, None, _PUBLIC_STEM),
    "V4": Measured(9_657_621, 20.25, _PUBLIC_STEM),
    "V5NR": Measured(142_859_981, 212.8),
    # By its script's layers: V5NR's but for the last, then 401,408 features to 35 action units, and both to 5 classes.
    "V6c": Measured(142_859_981 - (401_408 * 5 + 5) + (401_408 * 35 + 35) + ((401_408 + 35) * 5 + 5)),
}


def published_values(name: str) -> Mapping[str, Value]:
    """What the public code of a preset does otherwise than the preset itself: dotted path -> value."""
    run = preset(name)
    values = _MMNET_CODE if run.flow.method == "difference" else _TM_CODE
    if run.units.use != "none":
        values = values | _V6_CODE
    if run.model.temporal == "collapse" and run.model.stem_width == 256:
        values = values | _PUBLIC_STEM
    return values | ({"input.colours": "bytes"} if run.input.channels == "hsv" else {})


def deviations(name: str) -> dict[str, dict[str, Value]]:
    """Number in docs/parity.md -> this tool's own values there, of each deviation that a preset's public code has."""
    own, published = preset(name), published_values(name)
    found = {}
    for number, paths in DEVIATIONS.items():
        values = {path: value_at(own, path) for path in paths}
        if values.keys() <= published.keys() and any(value != published[path] for path, value in values.items()):
            found[number] = values
    return found


def entry(name: str) -> Preset:
    """A preset's values and what was published of it; a UsageError for an unknown name, with the nearest."""
    name = ALIASES.get(name, name)
    if name not in PRESETS:
        spelt = {known.lower(): known for known in PRESETS}
        longer = [known for known in PRESETS if known.lower().startswith(name.lower())]
        best = sorted(longer, key=lambda known: -(PRESETS[known].published_f1 or 0))
        near = [*best, *(spelt[found] for found in difflib.get_close_matches(name.lower(), spelt, n=1))]
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"a preset must be one of {', '.join(PRESETS)}, but got {name!r}{hint}")
    return PRESETS[name]


def preset(name: str, recipe: str = "") -> Run:
    """The Run of a preset, in one of RECIPES.

    Raises:
        UsageError: for an unknown name, with the nearest and all known ones, or an unknown recipe.
    """
    if recipe not in RECIPES:
        raise UsageError(f'recipe must be "" or "published", but is {recipe!r}')
    run = with_values(Run(), entry(name).values)
    return with_values(run, published_values(name)) if recipe == "published" else run

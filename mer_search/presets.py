"""The published networks as values: dotted paths into Run, with the figure that was published and its source.

Widths are the specification's. TM-MMNET's public code differs here and there:
- its V3 and V4 have an external stem of (128, 256), not (180, 256);
- it denoises with h 4, hColor 7 and patches of 21 pixels, where its comment means h = hColor = 4 and 7 pixels;
- its V6 picks the first stage's epoch on the test subject, makes `?` an action unit, and never unfreezes what it has
  frozen; here the epoch is picked on training clips, `?` is unknown, and everything is trained from unfreeze_epoch on.
"""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mer_search.config import Run, Value, with_values
from mer_search.errors import UsageError

TM_MMNET = "TM-MMNET, public code and specification"


class Preset(NamedTuple):
    """`published_f1` is macro F1 on CASME II, 5 classes, with the epoch picked on the test subject; None if unknown."""

    values: Mapping[str, Value]
    published_f1: float | None = None
    source: str = TM_MMNET


def _preset(published_f1: float | None, source: str, parts: dict[str, dict[str, Value]]) -> Preset:
    values = {f"{part}.{field}": value for part, fields in parts.items() for field, value in fields.items()}
    return Preset(MappingProxyType(values), published_f1, source)


_V3: dict[str, Value] = {"stem_mid": 180, "stem_width": 256, "attention_width": 256}
_V4: dict[str, Value] = {"stem_mid": 180, "stem_width": 256, "attention_width": 128}
_V5: dict[str, Value] = {"stem_mid": 180, "stem_width": 512, "attention_width": 512}
_100: dict[str, Value] = {"epochs": 100, "batch": 36}
_V6: dict[str, Value] = {"epochs": 80, "batch": 36}  # of the second stage; the first has Units' own 70

_KEEP: dict[str, Value] = {
    "temporal": "keep", "stem_mid": 128, "stem_width": 180, "internal_mid": 210, "attention_width": 256,
}  # fmt: skip
_MMNET: dict[str, Value] = {"temporal": "none", "stem_width": 180, "attention_width": 128}
_ONE_MAP: dict[str, Value] = {"middle": "apex", "maps": 1}  # from onset to apex
_DIFFERENCE: dict[str, dict[str, Value]] = {"flow": {"method": "difference"}, "input": {"channels": "rgb"}}
_ORIGINAL: dict[str, Value] = {"crop": 0.0, "rotate": 3.0, "pad": 15 / 224}  # MMNet's augmentation
_MASKED: dict[str, Value] = {"denoise": 4.0, "mask": "template"}  # TM-MMNET's frames


def _tm(published_f1: float | None, channels: str, model: dict[str, Value], **parts: dict[str, Value]) -> Preset:
    """A network of TM-MMNET: on denoised and masked frames, with the new augmentation."""
    shared: dict[str, dict[str, Value]] = {"prep": _MASKED, "input": {"channels": channels}, "model": model}
    return _preset(published_f1, TM_MMNET, shared | parts)


PRESETS: dict[str, Preset] = {
    "MMNet": _preset(
        0.8676,
        "MMNet: Li, Sui, Zhu, Zhao, IJCAI 2022, and its public code",
        _DIFFERENCE | {"frames": _ONE_MAP, "model": _MMNET, "train": {"epochs": 74, "batch": 32} | _ORIGINAL},
    ),
    "V1": _tm(0.8018, "nr", _KEEP, train={"epochs": 70, "batch": 32}),
    "V2": _tm(0.7817, "hsv", _KEEP, train={"epochs": 70, "batch": 32}),
    "V3N": _tm(None, "n", _V3, train=_100),
    "V3R": _tm(None, "r", _V3, train=_100),
    "V3S": _tm(None, "s", _V3, train=_100),
    "V3NR": _tm(0.8650, "nr", _V3, train=_100),
    "V3RS": _tm(0.8227, "rs", _V3, train=_100),
    "V3NS": _tm(0.8273, "ns", _V3, train=_100),
    "V3NRS": _tm(0.8262, "nrs", _V3, train=_100),
    "V4": _tm(None, "nr", _V4, train={"epochs": 100, "batch": 32}),
    "V5N": _tm(None, "n", _V5, train=_100),
    "V5R": _tm(None, "r", _V5, train=_100),
    "V5S": _tm(None, "s", _V5, train=_100),
    "V5NR": _tm(0.8290, "nr", _V5, train=_100),
    "V5RS": _tm(None, "rs", _V5, train=_100),
    "V5NS": _tm(0.8180, "ns", _V5, train=_100),
    "V5NRS": _tm(None, "nrs", _V5, train=_100),
    "V5d": _tm(None, "nr", _V5, train=_100 | {"loss": "focal"}),
    "V6": _tm(None, "nr", _V5, train=_V6, units={"use": "as_they_are"}),
    "V6c": _tm(None, "nr", _V5, train=_V6, units={"use": "thresholded"}),
    "V6d": _tm(None, "nr", _V5, train=_V6 | {"loss": "focal"}, units={"use": "as_they_are"}),
    # The original architecture on new data, one flow map from onset to apex; and the new one (V3) on original data.
    "ablation-A": _tm(None, "nr", _MMNET, frames=_ONE_MAP, train={"epochs": 74, "batch": 32}),
    "ablation-B": _preset(
        None, TM_MMNET, _DIFFERENCE | {"frames": {"middle": "apex"}, "model": _V3, "train": _100 | _ORIGINAL}
    ),
}


class Measured(NamedTuple):
    """What was measured on the public code at 224 pixels."""

    parameters: int  # that the forward pass uses
    gflop: float | None = None  # one clip, forward, four digits; None where only parameters were measured
    values: Mapping[str, Value] = MappingProxyType({})  # where the public code is not the preset


_PUBLIC_STEM = MappingProxyType[str, Value]({"model.stem_mid": 128})
PUBLIC: dict[str, Measured] = {
    "MMNet": Measured(9_438_841, 14.42),
    "V1": Measured(49_416_353, 313.3),
    "V2": Measured(49_415_201, 313.2),
    "V3N": Measured(36_379_669, None, _PUBLIC_STEM),
    "V3NR": Measured(36_381_973, 54.63, _PUBLIC_STEM),
    "V3NRS": Measured(36_384_277, None, _PUBLIC_STEM),
    "V4": Measured(9_657_621, 20.25, _PUBLIC_STEM),
    "V5NR": Measured(142_859_981, 212.8),
}


def preset(name: str) -> Run:
    """The Run of a preset.

    Raises:
        UsageError: for an unknown name, with the nearest and all known ones.
    """
    if name not in PRESETS:
        spelt = {known.lower(): known for known in PRESETS}
        near = [spelt[found] for found in difflib.get_close_matches(name.lower(), spelt, n=1)]
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"a preset must be one of {', '.join(PRESETS)}, but got {name!r}{hint}")
    return with_values(Run(), PRESETS[name].values)

"""The published networks as values: dotted paths into Run, with the figure that was published and its source.

Widths are the specification's. TM-MMNET's public code differs in one place: its V3 and V4 have an external stem of
(128, 256), not (180, 256).
"""

from dataclasses import dataclass
from types import MappingProxyType

from mer_search.config import Run, Value, with_values
from mer_search.errors import UsageError

TM_MMNET = "TM-MMNET, public code and specification"


@dataclass(frozen=True)
class Preset:
    """`published_f1` is macro F1 on CASME II, 5 classes, with the epoch picked on the test subject; None if unknown."""

    values: MappingProxyType[str, Value]
    published_f1: float | None = None
    source: str = TM_MMNET


def _preset(published_f1: float | None = None, source: str = TM_MMNET, **parts: dict[str, Value]) -> Preset:
    values = {f"{part}.{field}": value for part, fields in parts.items() for field, value in fields.items()}
    return Preset(MappingProxyType(values), published_f1, source)


_V3: dict[str, Value] = {"stem_mid": 180, "stem_width": 256, "attention_width": 256}
_V4: dict[str, Value] = {"stem_mid": 180, "stem_width": 256, "attention_width": 128}
_V5: dict[str, Value] = {"stem_mid": 180, "stem_width": 512, "attention_width": 512}
_100: dict[str, Value] = {"epochs": 100, "batch": 36}

_KEEP: dict[str, Value] = {
    "temporal": "keep", "stem_mid": 128, "stem_width": 180, "internal_mid": 210, "attention_width": 256,
}  # fmt: skip
_MMNET: dict[str, Value] = {"stem_width": 180, "attention_width": 128}
_DIFFERENCE: dict[str, dict[str, Value]] = {"flow": {"method": "difference"}, "input": {"channels": "rgb"}}

PRESETS: dict[str, Preset] = {
    "MMNet": _preset(
        0.8676,
        "MMNet: Li, Sui, Zhu, Zhao, IJCAI 2022, and its public code",
        frames={"middle": "apex", "maps": 1},
        **_DIFFERENCE,
        model=_MMNET | {"temporal": "none"},
        train={"epochs": 74, "batch": 32},
    ),
    "V1": _preset(0.8018, input={"channels": "nr"}, model=_KEEP, train={"epochs": 70, "batch": 32}),
    "V2": _preset(0.7817, input={"channels": "hsv"}, model=_KEEP, train={"epochs": 70, "batch": 32}),
    "V3N": _preset(None, input={"channels": "n"}, model=_V3, train=_100),
    "V3R": _preset(None, input={"channels": "r"}, model=_V3, train=_100),
    "V3S": _preset(None, input={"channels": "s"}, model=_V3, train=_100),
    "V3NR": _preset(0.8650, input={"channels": "nr"}, model=_V3, train=_100),
    "V3RS": _preset(0.8227, input={"channels": "rs"}, model=_V3, train=_100),
    "V3NS": _preset(0.8273, input={"channels": "ns"}, model=_V3, train=_100),
    "V3NRS": _preset(0.8262, input={"channels": "nrs"}, model=_V3, train=_100),
    "V4": _preset(None, input={"channels": "nr"}, model=_V4, train={"epochs": 100, "batch": 32}),
    "V5N": _preset(None, input={"channels": "n"}, model=_V5, train=_100),
    "V5R": _preset(None, input={"channels": "r"}, model=_V5, train=_100),
    "V5S": _preset(None, input={"channels": "s"}, model=_V5, train=_100),
    "V5NR": _preset(0.8290, input={"channels": "nr"}, model=_V5, train=_100),
    "V5d": _preset(None, input={"channels": "nr"}, model=_V5, train=_100 | {"loss": "focal"}),
    "V5RS": _preset(None, input={"channels": "rs"}, model=_V5, train=_100),
    "V5NS": _preset(0.8180, input={"channels": "ns"}, model=_V5, train=_100),
    "V5NRS": _preset(None, input={"channels": "nrs"}, model=_V5, train=_100),
}


def preset(name: str) -> Run:
    """The Run of a preset.

    Raises:
        UsageError: for an unknown name, with the known ones.
    """
    if name not in PRESETS:
        raise UsageError(f"a preset must be one of {', '.join(PRESETS)}, but got {name!r}")
    return with_values(Run(), PRESETS[name].values)

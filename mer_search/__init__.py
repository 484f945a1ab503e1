"""Micro-expression recognition: search, confirm, tell the truth."""

from importlib import import_module
from typing import Any

API = {  # what `import mer_search as mer` gives, and where it is; imported at first use, so that `--help` is fast
    "load_data": "api",
    "motion": "api",
    "run": "api",
    "confirm": "api",
    "Result": "api",
    "load_network": "api",
    "network_of": "api",
    "predict": "api",
    "export": "api",
    "preset": "presets",
    "Run": "config",
    "with_values": "config",
}
__all__ = list(API)


def __getattr__(name: str) -> Any:
    if name not in API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{API[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *API])

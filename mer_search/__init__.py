"""Micro-expression recognition: search, confirm, tell the truth."""

from typing import Any

API = (  # what `import mer_search as mer` gives; imported at first use, so that `mer-search --help` is fast
    "load_data", "motion", "run", "confirm", "Result", "load_network", "network_of", "predict", "export",
    "export_final", "preset", "Run", "with_values", "compare", "score", "compare_logs",
)  # fmt: skip
__all__ = list(API)


def __getattr__(name: str) -> Any:
    if name not in API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mer_search import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *API])

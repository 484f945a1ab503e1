"""The tables of docs/study-file.md, from what checks a study file: `python -m mer_search.report.reference PAGE`."""

import inspect
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from mer_search.config import Part, Run, Value, value_at
from mer_search.presets import PRESETS
from mer_search.search.space import FIELDS

MARK = "<!-- `make docs` writes what follows -->\n"
TYPES: dict[Any, str] = {
    bool: "`true`, `false`", int: "integer", float: "number", str: "text", dict: "table", list: "list of tables",
}  # fmt: skip
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def reference() -> str:
    """Every field of a study file, every dotted path, and what each preset sets, as Markdown."""
    fields = [
        (name, _choices(entry.allowed) or TYPES[type(entry.default)], _toml(entry.default), entry.meaning)
        for name, entry in FIELDS.items()
    ]
    parts = [f"### {name}\n\n{inspect.getdoc(part)}\n\n{_paths(name, type(part))}" for name, part in Run()]
    presets = [(name, _changes(preset.values)) for name, preset in PRESETS.items()]
    return "\n".join(
        [
            "## The fields of a study\n",
            _table(("field", "values", "default", "meaning"), fields),
            "## Every dotted path\n",
            "A default holds where neither the base preset nor the study says otherwise.\n",
            *parts,
            "## What each preset sets\n",
            "Where it differs from the defaults above; `mer-search presets` shows sizes and published figures.\n",
            _table(("preset", "values"), presets),
        ]
    )


def meanings(part: type[Part]) -> dict[str, str]:
    """Field -> the comment behind it in the source."""
    return dict(re.findall(r"^    (\w+): .*?  # (.+)$", inspect.getsource(part), re.MULTILINE))


def _paths(name: str, part: type[Part]) -> str:
    meaning = meanings(part)
    rows = [
        (f"{name}.{key}", _allowed(field), _toml(field.default), meaning[key])
        for key, field in part.model_fields.items()
    ]
    return _table(("path", "values", "default", "meaning"), rows)


def _allowed(field: FieldInfo) -> str:
    """What a field may be: its choices, or its type and bounds."""
    if get_origin(field.annotation) is Literal:
        return _choices(get_args(field.annotation))
    limits = {name: getattr(each, name) for each in field.metadata for name in BOUNDS if hasattr(each, name)}
    return ", ".join(
        [TYPES.get(field.annotation, "list of text"), *(f"{BOUNDS[name]} {limit:g}" for name, limit in limits.items())]
    )


def _changes(values: Mapping[str, Value]) -> str:
    """A preset's values that are not the defaults."""
    return ", ".join(f"{key} = {_toml(value)}" for key, value in values.items() if value != value_at(Run(), key))


def _choices(values: Iterable[Any]) -> str:
    return ", ".join(map(_toml, values))


def _toml(value: Any) -> str:
    """A value as it is written in a study file; nothing for an empty table."""
    if isinstance(value, float):
        return f"`{value:.4g}`"
    return f"`{json.dumps(value)}`" if value not in ({}, [], ()) else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([f"`{name}`", *cells] for name, *cells in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    """Write the tables of the page anew; what stands before the mark is written by hand."""
    page = Path(sys.argv[1])
    page.write_text(page.read_text().partition(MARK)[0] + MARK + "\n" + reference())


if __name__ == "__main__":
    main()

"""The reference in docs/: study files, from what checks them, and the Python API, from its docstrings."""

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

import mer_search
from mer_search.config import Part, Run, Value, value_at
from mer_search.presets import PRESETS
from mer_search.report.document import Table, markdown_table
from mer_search.search.space import Fields

MARK = "<!-- `make docs` writes what follows -->\n"
TYPES: dict[Any, str] = {
    bool: "`true`, `false`", int: "integer", float: "number", str: "text", dict[str, Any]: "table",
    list[Any]: "list of tables",
}  # fmt: skip
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def reference() -> str:
    """Every field of a study file, every dotted path, and what each preset sets, as Markdown."""
    parts = [f"### {name}\n\n{inspect.getdoc(part)}\n\n{_paths(name, type(part))}" for name, part in Run()]
    presets = [(name, _changes(preset.values)) for name, preset in PRESETS.items()]
    return "\n".join(
        [
            "## The fields of a study\n",
            _table(("field", "values", "default", "meaning"), _rows(Fields)),
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
    return _table(("path", "values", "default", "meaning"), [(f"{name}.{key}", *rest) for key, *rest in _rows(part)])


def _rows(part: type[Part]) -> list[tuple[str, ...]]:
    meaning = meanings(part)
    return [(key, _allowed(field), _toml(field.default), meaning[key]) for key, field in part.model_fields.items()]


def _allowed(field: FieldInfo) -> str:
    """What a field may be: its choices, or its type and bounds."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(map(_toml, get_args(field.annotation)))
    limits = {name: getattr(each, name) for each in field.metadata for name in BOUNDS if hasattr(each, name)}
    return ", ".join(
        [TYPES.get(field.annotation, "list of text"), *(f"{BOUNDS[name]} {limit:g}" for name, limit in limits.items())]
    )


def _changes(values: Mapping[str, Value]) -> str:
    """A preset's values that are not the defaults."""
    return ", ".join(f"{key} = {_toml(value)}" for key, value in values.items() if value != value_at(Run(), key))


def _toml(value: Any) -> str:
    """A value as it is written in a study file; nothing for an empty table."""
    if isinstance(value, float):
        return f"`{value:.4g}`"
    return f"`{json.dumps(value)}`" if value not in ({}, [], ()) else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown_table(Table(head, [(f"`{name}`", *cells) for name, *cells in rows], left=len(head))) + "\n"


def api_reference() -> str:
    """Everything that `import mer_search as mer` gives, as Markdown."""
    return "\n".join(_entry(name, getattr(mer_search, name)) for name in mer_search.API)


def _entry(name: str, item: Any) -> str:
    if not inspect.isclass(item):
        return f"## mer.{name}\n\n```text\n{_call(name, item)}\n```\n\n{_markdown(item)}\n"
    members = [
        f"- `{key}`: {_markdown(member.fget)}" if isinstance(member, property) else f"- `{key}()`: {_markdown(member)}"
        for key, member in vars(item).items()
        if not key.startswith("_") and (isinstance(member, property) or inspect.isfunction(member))
    ]
    return "\n".join([f"## mer.{name}\n\n{_markdown(item)}\n", *members, *([""] if members else [])])


def _call(name: str, function: Any) -> str:
    """How a function is called: its parameters and what they are by default."""
    shown: list[str] = []
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        plain = parameter.default is parameter.empty or callable(parameter.default)
        shown.append(key if plain else f"{key}={parameter.default!r}")
    return textwrap.fill(f"mer.{name}({', '.join(shown)})", 100, subsequent_indent="    ", break_on_hyphens=False)


def _markdown(item: Any) -> str:
    """A docstring as Markdown, its arguments and errors as lists."""
    lines: list[str] = []
    section = ""
    for line in (inspect.getdoc(item) or "").splitlines():
        text = line.strip()
        if text in {"Args:", "Returns:", "Raises:"}:
            section = text
            lines.append(f"**{text.removesuffix(':')}**\n")
        elif section in {"Args:", "Raises:"} and re.match(r"    \w[\w, ]*: ", line):
            key, _, rest = text.partition(": ")
            lines.append(f"- `{key}`: {rest}")
        else:
            lines.append(text)
    return "\n".join(lines)


PAGES = {"study-file.md": reference, "api.md": api_reference}


def main() -> None:
    """Write the reference of each page in a folder anew; what stands before the mark is written by hand."""
    for name, write in PAGES.items():
        page = Path(sys.argv[1]) / name
        page.write_text(page.read_text().partition(MARK)[0] + MARK + "\n" + write())


if __name__ == "__main__":
    main()

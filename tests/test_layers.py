"""The walls of the house: imports only go up the list, and some rooms stay free of some libraries."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import mer_search

ROOT = Path(mer_search.__file__).parent
FLOORS = [  # each imports from those before it alone
    {"errors"},
    {"files", "processes"},
    {"config"},
    {"presets", "data", "model"},
    {"evaluation"},
    {"training"},
    {"engine"},
    {"search"},
    {"confirmation"},
    {"inference"},
    {"bench"},
    {"report"},
    {"api"},
    {"cli"},
]
LEVEL = {room: level for level, floor in enumerate(FLOORS) for room in floor}
FORBIDDEN = {
    "data": {"torch", "optuna", "click"},
    "model": {"optuna", "click", "cv2"},
    "evaluation": {"torch", "optuna", "click"},
    "training": {"optuna", "click", "ray"},
    "engine": {"optuna", "click", "pandas", "sklearn", "matplotlib"},
    "search": {"click", "ray"},
    "confirmation": {"click", "ray"},
    "inference": {"click", "ray"},
    "bench": {"click", "ray"},
}


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return (
        plain
        | {node.module for node in whole}
        | {f"mer_search.{each.name}" for node in whole for each in node.names if node.module == "mer_search"}
    )


MODULES = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


def _room(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_up(path):
    room = _room(path)
    for name in _imports(path):
        if name.startswith("mer_search."):
            other = name.split(".")[1]
            assert other == room or LEVEL[other] < LEVEL[room], f"{room} must not import {name}"
        assert name.split(".")[0] not in FORBIDDEN.get(room, set()), f"{room} must not import {name}"


def test_no_modules_import_each_other_in_a_circle():
    names = {".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path for path in MODULES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    TopologicalSorter({name: _modules(path, names) - {name} for name, path in names.items()}).prepare()


def _modules(path: Path, names: dict[str, Path]) -> set[str]:
    """The modules of the package that one imports, at its top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mer_search."):
            found |= {name if (name := f"{node.module}.{each.name}") in names else node.module for each in node.names}
    return found & set(names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_happens_at_import(path):
    """Names are defined, and that is all: no value of another library is set, for example."""
    calls = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Expr | ast.With | ast.For)]
    assert [ast.unparse(node) for node in calls if not isinstance(getattr(node, "value", None), ast.Constant)] == []


@pytest.mark.parametrize(
    ("what", "but"),
    [
        ("mer_search.cli", {"torch", "cv2", "optuna", "pandas", "sklearn", "matplotlib", "ray"}),
        # what `status` needs
        (
            "mer_search.report.trials, mer_search.report.summaries, mer_search.search.progress, "
            "mer_search.confirmation.proxy",
            {"torch", "scipy.stats"},
        ),
        ("mer_search.engine.local", {"optuna", "pandas", "scipy.stats", "sklearn", "matplotlib", "openpyxl", "ray"}),
        # what `run` needs
        (
            "mer_search.search.session, mer_search.report.costs, mer_search.report.live, mer_search.search.resume",
            {"pandas", "scipy.stats", "sklearn", "matplotlib", "openpyxl", "jinja2", "ray"},
        ),
    ],
    ids=["the command line", "a look at a study", "a process that trains", "the way to the first step"],
)
def test_what_answers_at_once_imports_nothing_heavy(what, but):
    code = f"import sys, {what}; found = {but} & set(sys.modules); sys.exit(str(found) if found else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

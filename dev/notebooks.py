"""Run the notebooks of docs/ and keep what they print: `python dev/notebooks.py [NAME...]`, with Jupyter or without."""

import ast
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
Json = dict[str, Any]


def executed(notebook: Json, instead: Mapping[str, str] | None = None) -> Json:
    """The notebook with the outputs of its cells, run one after the other in one namespace.

    Args:
        notebook: as its file has it.
        instead: text in the code -> what is run in its place; each must occur.
    """
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for text in instead or {}:
        assert any(text in each for each in texts), f"no cell has {text!r}"  # noqa: S101 (used by a test)
    names: Json = {}
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            code = "".join(cell["source"])
            for text, other in (instead or {}).items():
                code = code.replace(text, other)
            cell = cell | {"outputs": _outputs(code, names)}
        cells.append(cell)
    return notebook | {"cells": cells}


def _outputs(code: str, names: Json) -> list[Json]:
    """What a cell prints, and the value of its last line if that is an expression."""
    tree, printed, value = ast.parse(code), io.StringIO(), None
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<cell>", "exec"), names)  # noqa: S102 (our own notebook)
        if last:
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)  # noqa: S307 (our own notebook)
    outputs: list[Json] = []
    if printed.getvalue():
        lines = printed.getvalue().splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": lines})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        outputs.append({"output_type": "execute_result", "execution_count": None, "metadata": {}, "data": data})
    return outputs


def main() -> None:
    """Write the notebooks anew, run in a temporary folder."""
    chosen = [NOTEBOOKS / f"{name}.ipynb" for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for path in chosen:
            done = executed(json.loads(path.read_text()))
            path.write_text(json.dumps(done, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

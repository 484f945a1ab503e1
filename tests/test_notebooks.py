"""The notebooks of docs/: they run, on smaller data, and keep what they printed."""

import json

import notebooks
import pytest
from small import STUDY

HERE = {  # what a notebook says, and what is said here
    "from_a_folder_to_a_table": {
        "mer.load_data()": "mer.load_data('flow')",
        'study="demo", trials=4': 'study="small.toml", trials=2',
        '("input.channels", "model.blocks")': '("train.lr",)',
    },
    "score_your_own_method": {"mer.load_data()": "mer.load_data('flow')"},
}
PRINTED = {
    "from_a_folder_to_a_table": ["24 clips of 4 subjects", "tail, no epoch selected", "(epochs, clips, classes)"],
    "score_your_own_method": ["(24, 1, 3, 32, 32)", "UF1 ", "difference"],
}


def _read(name: str) -> dict:
    return json.loads((notebooks.NOTEBOOKS / f"{name}.ipynb").read_text())


def _shown(notebook: dict) -> str:
    outputs = [each for cell in notebook["cells"] for each in cell.get("outputs", [])]
    return "".join("".join(each.get("text") or each["data"]["text/plain"]) for each in outputs)


@pytest.mark.parametrize("name", HERE)
def test_a_notebook_runs(name, flow_folder, tmp_path, monkeypatch, everywhere):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(STUDY)
    shown = _shown(notebooks.executed(_read(name), HERE[name]))
    assert [text for text in PRINTED[name] if text not in shown] == []


@pytest.mark.parametrize("name", HERE)
def test_a_notebook_keeps_what_it_printed(name):
    assert sorted(path.stem for path in notebooks.NOTEBOOKS.glob("*.ipynb")) == sorted(HERE)
    cells = [cell for cell in _read(name)["cells"] if cell["cell_type"] == "code"]
    silent = ["".join(cell["source"]) for cell in cells if not cell["outputs"]]
    assert all(code.splitlines()[-1].startswith("    ") for code in silent)  # a loop, and no value
    assert "246 clips of 26 subjects" in _shown(_read(name)) or "(246, 4, 2, 32, 32)" in _shown(_read(name))

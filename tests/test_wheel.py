"""An installed wheel has all modules and studies, and finds them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_holds_every_module_and_study_and_finds_them(tmp_path):
    source = tmp_path / "source"
    for folder in ("mer_search", "studies"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, source)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        source,
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info" not in name}
        wheel.extractall(tmp_path / "installed")
    package = (path for path in (ROOT / "mer_search").rglob("*") if path.suffix in (".py", ".html"))
    modules = {str(path.relative_to(ROOT)) for path in package}
    assert held == modules | {f"mer_search/{path.relative_to(ROOT)}" for path in (ROOT / "studies").rglob("*.toml")}
    code = "from mer_search import files; "
    code += "print(files.__file__, *files.toml_names(files.shipped()), *files.toml_names(files.shipped('plans'))); "
    code += "from mer_search.report.document import Document, to_html; to_html(Document('', [], []))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, check=True
    )
    where, *names = found.stdout.split()
    assert where.startswith(str(tmp_path / "installed"))
    assert names == ["architecture", "default", "default-plus", "demo", "megc2019", "ablation", "decision"]

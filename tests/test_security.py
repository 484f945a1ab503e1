"""Nothing runs that came with the data, nothing is written where nobody asked, and nobody learns a password."""

import ast
import io
import json
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import fold_table
import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from small import STUDY, TINY, one_line

import mer_search
from mer_search import cli
from mer_search.config import Run, with_values
from mer_search.confirmation.plans import load_plan
from mer_search.errors import DataError, UsageError
from mer_search.evaluation.predictions import load
from mer_search.report import dashboard
from mer_search.search import session, space, storage
from mer_search.search.storage import shown
from mer_search.training.fold_store import load_network

ROOT = Path(mer_search.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
RUNS = {"eval", "exec", "compile", "__import__", "import_module", "run_path", "run_module", "literal_eval"}
UNPICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "importlib.util",
             "runpy"}  # fmt: skip
SECRET = "tell-nobody-7"  # noqa: S105 (of no database)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_evaluated_or_imported_from_data(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not imported & UNPICKLES
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        ours = name in {"re.compile", "torch.compile"} or name.endswith("network.eval")
        runs = name.split(".")[-1] in RUNS and not ours
        assert not runs, f"line {call.lineno}: {name}"
        assert name not in {"pd.read_pickle", "np.fromfile"}, f"line {call.lineno}: {name}"
        if name == "torch.load":
            weights_only = [ast.unparse(word.value) for word in call.keywords if word.arg == "weights_only"]
            assert weights_only == ["True"], f"line {call.lineno}: {name}"
        if name in {"np.load", "np.save", "np.savez", "np.savez_compressed", "numpy.load"}:
            allowed = [word.value for word in call.keywords if word.arg == "allow_pickle"]
            assert [ast.unparse(value) for value in allowed] == ["False"], f"line {call.lineno}: {name}"
        if name in {"subprocess.run", "subprocess.Popen", "os.system", "os.popen"}:
            assert not any(word.arg == "shell" for word in call.keywords), f"line {call.lineno}: {name}"
            assert not name.startswith("os."), f"line {call.lineno}: {name}"


class _Mark:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def _object_archive(path: Path, names: list[str], mark: Path) -> None:
    """An npz with arrays of objects, which numpy would unpickle if it were let."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    array.write(pickle.dumps(np.array([_Mark(mark)], dtype=object)))
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(f"{name}.npy", array.getvalue())


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    _object_archive(tmp_path / "a.npz", ["seed", "subject", "clips", "labels", "probabilities"], tmp_path / "mark")
    with pytest.raises(DataError, match="must hold a fold's predictions, but cannot be read"):
        load(tmp_path / "a.npz")
    _object_archive(tmp_path / "table.npz", ["values"], tmp_path / "mark")
    with pytest.raises(DataError, match="must hold a table of folds, but cannot be read"):
        fold_table.load(tmp_path / "table.npz", space.load("demo"))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(_Mark(tmp_path / "mark")))
    with pytest.raises(DataError, match="must hold a fold's predictions"):
        load(tmp_path / "b.npz")
    assert not (tmp_path / "mark").exists()


def _safetensors(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
WEIGHTS = {
    "nothing": b"",
    "a pickle": pickle.dumps({"head.weight": 1}),
    "a header longer than the file": _safetensors(b"{}", 10**6),
    "a header of 2^63 bytes": _safetensors(b"{}", 2**63),
    "no json": _safetensors(b"{x"),
    "json nested 100,000 deep": _safetensors(b'{"a":' * 100_000),
    "a tensor beyond the end": _safetensors(json.dumps({"a": TENSOR | {"data_offsets": [0, 2**60]}}).encode()),
    "tensors that overlap": _safetensors(json.dumps({"a": TENSOR, "b": TENSOR}).encode(), data=bytes(8)),
    "a shape that overflows": _safetensors(
        json.dumps({"a": TENSOR | {"shape": [2**62, 2**62]}}).encode(), data=bytes(8)
    ),
    "an unknown type": _safetensors(json.dumps({"a": TENSOR | {"dtype": "O"}}).encode(), data=bytes(8)),
    "a tensor that is none of the network's": _safetensors(json.dumps({"a": TENSOR}).encode(), data=bytes(8)),
}


@pytest.mark.parametrize("content", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_with_a_malicious_header_are_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    run = with_values(Run(), TINY | {"flow.size": 28, "frames.maps": 1, "model.position": False})
    with pytest.raises(DataError, match="must hold a network of its run, but cannot be read") as refused:
        load_network(path, run, "cpu")
    assert len(str(refused.value).splitlines()) == 1


def test_a_study_file_names_no_other_file(tmp_path):
    (tmp_path / "other.toml").write_text(STUDY)
    for old, new in (('base = "V4"', 'base = "../other"'), ('base = "V4"', f'base = "{tmp_path}/other.toml"')):
        with pytest.raises(UsageError, match="a preset must be one of"):
            space.parse(STUDY.replace(old, new), "x")
    with pytest.raises(UsageError, match="a plan must be"):
        load_plan("../plans/decision")
    with pytest.raises(UsageError, match=r"a study must be a \.toml file or one of"):
        space.load("../studies/demo")


@pytest.fixture
def mer_search(tmp_path, monkeypatch):
    """A function that runs the program in a folder inside another, where small.toml alone lies."""
    (tmp_path / "inside" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "inside" / "here")
    Path("small.toml").write_text(STUDY)
    return lambda *arguments: CliRunner().invoke(cli.main, [str(a) for a in arguments])


def test_a_studys_name_cannot_lead_out_of_the_results_folder(mer_search, flow_folder):
    """Other names: test_input.py."""
    Path("...toml").write_text(STUDY)  # whose name is ".."
    for arguments in (["--study", "small.toml", "--study-name", "../../x"], ["--study", "...toml"]):
        refused = mer_search("run", *arguments, "--data", flow_folder)
        one_line(refused, 2, "a study's name must be")
    written = {path for path in Path("../..").rglob("*") if path.name in ("study.id", "study.toml", "config.json")}
    assert written == set()


def test_the_dashboard_is_for_this_machine_unless_told_otherwise(mer_search, flow_folder, everywhere, monkeypatch):
    served = []

    def server(storage, folder, host, port):
        served.append(host)
        return nullcontext()

    monkeypatch.setattr(dashboard, "server", server)
    monkeypatch.setattr(dashboard, "serve", lambda listening: None)
    monkeypatch.setattr(session, "run", lambda *_: ())
    assert mer_search("run", "--study", "small.toml", "--data", flow_folder).exit_code == 0
    alone = mer_search("dashboard", "--port", 47_811)
    assert (alone.exit_code, alone.stderr) == (0, "")
    open_to_all = mer_search("dashboard", "--port", 47_811, "--host", "0.0.0.0")  # noqa: S104 (it is what is warned of)
    assert open_to_all.exit_code == 0
    assert "warning: the dashboard has no login: anyone who reaches 0.0.0.0:47811 can" in open_to_all.stderr
    assert served == ["127.0.0.1", "0.0.0.0"]  # noqa: S104
    for host in ("no.such.host.invalid", "192.0.2.1", "\udcff", "x" * 300):
        wrong = mer_search("dashboard", "--port", 47_811, "--host", host)
        assert (wrong.exit_code, wrong.stderr[:16]) == (2, "error: --host an")


def _told_in_files(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_password_is_told_nobody(mer_search, flow_folder, tmp_path, monkeypatch):
    """Instead of a server, a file among the results is opened; it is looked through, too."""
    url, titles, real = f"postgresql+psycopg://mer:{SECRET}@database/mer", [], session.run

    def run(*arguments):
        for event in real(*arguments):
            here = psutil.Process()
            titles.extend(" ".join(each.cmdline()) for each in [here, *here.children(recursive=True)])
            yield event

    monkeypatch.setattr(session, "run", run)
    opened = partial(storage.RDBStorage, "sqlite:///rows.db")
    monkeypatch.setattr(storage, "RDBStorage", lambda url, engine_kwargs: opened())
    engine = storage.create_engine
    monkeypatch.setattr(storage, "create_engine", lambda url, **settings: engine("sqlite:///rows.db"))
    asked = ["--storage", url, "--study-name", "secretive"]
    searched = ["run", "--study", "small.toml", "--data", flow_folder, "--trials", 1, *asked]
    results = [mer_search(*searched), *(mer_search(command, *asked) for command in ("status", "report"))]
    results += [mer_search(*searched, "--seed", 1), mer_search("status", "--storage", url, "--study-name", "none such")]
    assert [result.exit_code for result in results] == [0, 0, 0, 1, 2], results[0].output
    assert ":***@" in results[0].stdout
    assert titles and Path("rows.db").stat().st_size
    assert not [text for text in [*titles, *(result.output + result.stderr for result in results)] if SECRET in text]
    assert _told_in_files(tmp_path / "inside") == []


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+psycopg://mer:{SECRET}@127.0.0.1:1/mer",
        f"postgresql+psycopg://mer:{SECRET}@127.0.0.1:wrong/mer",
        f"postgresql+psycopg://mer:p@{SECRET}@127.0.0.1:1/mer",
        f"postgresql+psycopg://mer:{SECRET}@no.such.host.invalid/mer",
        f"postgresql+psycopg://mer@127.0.0.1:1/mer?password={SECRET}",
        f"postgresql+psycopg://mer@127.0.0.1:1/mer?password={SECRET}&nonsense=1",
        f"postgresql+psycopg://mer:{SECRET}@127.0.0.1:1/mer?connect_timeout=never",
        f"postgresql+nodriver://mer:{SECRET}@127.0.0.1:1/mer",
        f"postgresql://mer:{SECRET}@127.0.0.1:1/mer",
        f"mysql://mer:{SECRET}@127.0.0.1/mer",
        f"mysql://mer://{SECRET}@127.0.0.1/mer",
        f"nonsense mer:{SECRET}@127.0.0.1",
    ],
)
def test_a_storage_that_cannot_be_opened_keeps_its_password(mer_search, flow_folder, tmp_path, url):
    for command in (["status"], ["run", "--study", "small.toml", "--data", flow_folder]):
        refused = mer_search(*command, "--storage", url)
        assert refused.exit_code in (1, 2), refused.output
        assert len([line for line in refused.stderr.splitlines() if line.startswith("error:")]) == 1
        assert SECRET not in refused.output + refused.stderr
    assert SECRET not in shown(url)
    assert _told_in_files(tmp_path / "inside") == []


def test_a_storage_may_stand_in_the_environment_where_no_process_list_shows_it(mer_search, monkeypatch):
    monkeypatch.setenv("MER_SEARCH_STORAGE", "sqlite:///elsewhere.db")
    assert "sqlite:///elsewhere.db must hold a study" in mer_search("status").stderr


def test_a_network_that_hangs_the_audit_or_has_no_list_fails_nothing(tmp_path):
    audit = ROOT.parent / "dev" / "audit.py"
    away = {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, str(audit)], capture_output=True, text=True, env=away, timeout=150)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch("advisories: PyPI's list cannot be reached from here, so nothing is known .*\n", done.stdout)

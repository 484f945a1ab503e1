"""Small datasets that the tests write themselves, and small runs on them."""

import csv
import shutil
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import openpyxl
import pandas as pd
import pytest
from click.testing import CliRunner

from mer_search import cli
from mer_search.confirmation import confirm, scoring
from mer_search.confirmation.compare import Contestant, comparison
from mer_search.confirmation.summary import Summary
from mer_search.confirmation.target import trial_target
from mer_search.engine.local import LocalExecutor
from mer_search.engine.where import Where
from mer_search.inference import export
from mer_search.search.scheduler import Job, Scheduler
from mer_search.search.storage import find_study, open_storage
from mer_search.search.study import Scored, Trained, run
from mer_search.search.workspace import load_data, silent
from mer_search.training.fold_store import load_folds

TINY = {
    "prep.size": 32, "flow.size": 16, "frames.maps": 2, "frames.jitter": 0.5, "model.stem_mid": 4, "model.blocks": 2,
    "model.stem_width": 4, "model.attention_width": 4, "train.epochs": 3, "train.batch": 8, "train.weight_decay": 0.1,
}  # fmt: skip
NARROW = {
    "flow.size": 32, "model.stem_mid": 4, "model.stem_width": 4, "model.internal_mid": 4, "model.attention_width": 4,
}  # fmt: skip
COLUMNS = ["Subject", "Filename ", "Unnamed: 2", "OnsetFrame", " ApexFrame", "OffsetFrame", "Unnamed: 6",
           "Action Units", "Estimated Emotion"]  # fmt: skip


def texture(seed: int, size: int = 48) -> np.ndarray:
    """A smooth random picture (size, size), floats 0..255, that flow can follow."""
    noise = np.random.default_rng(seed).uniform(0, 255, (size, size)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)


def write_clip(folder: Path, onset: int, offset: int, shift: tuple[float, float], seed: int, prefix: str) -> None:
    """Frames onset..offset of a picture that moves to `shift` at the middle and back."""
    folder.mkdir(parents=True)
    picture = texture(seed)
    for number in range(onset, offset + 1):
        rise = np.sin(np.pi * (number - onset) / (offset - onset))
        matrix = np.float32([[1, 0, shift[0] * rise], [0, 1, shift[1] * rise]])
        moved = cv2.warpAffine(picture, matrix, picture.shape[::-1], borderMode=cv2.BORDER_REFLECT)
        cv2.imwrite(str(folder / f"{prefix}{number}.jpg"), moved)


MOTIONS = {"happiness": (2.0, 0.0), "disgust": (0.0, 2.0), "others": (-2.0, 0.0), "surprise": (0.0, -2.0)}


def write_casme2(
    root: Path, subjects: int = 4, per_subject: int = 4, layout: str = "Cropped/sub{:02d}", prefix: str = "reg_img"
) -> list[list]:
    """A CASME II folder whose clips move by their label; returns the spreadsheet's rows."""
    rows = []
    for subject in range(1, subjects + 1):
        for k, label in enumerate(list(MOTIONS)[:per_subject]):
            name, onset, offset = f"EP{k + 1:02d}_{subject:02d}f", 10 + subject, 26 + subject
            write_clip(root / layout.format(subject) / name, onset, offset, MOTIONS[label], 10 * subject + k, prefix)
            rows.append([subject, name, "", onset, onset + 8, offset, "", "4+R10" if k else 12, label])
    write_sheet(root / "CASME2-coding-20140508.xlsx", rows)
    return rows


def casme2_row(subject: int | str, name: str, emotion: str = "others", units: str = "4", apex: int | str = 15) -> list:
    """A row of CASME II's sheet: 10 frames."""
    return [subject, name, None, 11, apex, 20, None, units, emotion]


def write_still_casme2(
    root: Path, rows: list[list], titles: list[str] = COLUMNS, name: str = "CASME2-coding-20140508.xlsx"
) -> None:
    """A CASME II folder: the sheet, and grey frames of the rows."""
    write_book(root / name, [titles, *rows])
    for row in rows:
        folder = root / "Cropped" / f"sub{int(row[0]):02d}" / row[1]
        write_frames(folder, (f"reg_img{k}.jpg" for k in range(row[3], row[5] + 1)))


def face_points(height: int, width: int) -> np.ndarray:
    """The 68 points (68, 2) of a face that fills an image, in its pixels; only jaw and eyes lie where they should."""
    points = np.full((68, 2), (0.5, 0.6))
    angle = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([0.5 + 0.4 * np.cos(angle), 0.5 + 0.4 * np.sin(angle)], 1)
    eye = np.array([(-1, 0), (-0.4, -0.3), (0.4, -0.3), (1, 0), (0.4, 0.3), (-0.4, 0.3)]) * 0.08
    points[36:42], points[42:48] = eye + np.array((0.3, 0.36)), eye + np.array((0.7, 0.36))
    return points * (width, height) - 0.5


def write_openface(path: Path, faces: list[np.ndarray], success: int = 1) -> Path:
    """A CSV as OpenFace writes it: a row for each of `faces` (68, 2), spaces before the columns' names."""
    names = ["frame", " face_id", " success", *(f" {axis}_{point}" for axis in "xy" for point in range(68))]
    rows = [[k, 0, success, *face[:, 0], *face[:, 1]] for k, face in enumerate(faces, 1)]
    pd.DataFrame(rows, columns=names).to_csv(path, index=False)
    return path


def write_sheet(path: Path, rows: list[list]) -> None:
    table = pd.DataFrame(rows, columns=COLUMNS)
    if path.suffix == ".xlsx":
        table.to_excel(path, index=False)
    else:
        table.to_csv(path, index=False)


def write_book(path: Path, rows: list[list], tab: str = "Sheet1", other: str = "") -> None:
    """A spreadsheet with the cells as they are (.xlsx, perhaps behind a sheet `other`) or as text (.csv)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        return
    book = openpyxl.Workbook()
    book.active.title = other or tab
    sheet = book.create_sheet(tab) if other else book.active
    for row in rows:
        sheet.append(row)
    book.save(path)


def write_frames(folder: Path, names: Iterable[str]) -> None:
    """Small grey pictures of those names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        cv2.imwrite(str(folder / name), np.full((16, 16), 128, np.uint8))


SAMM_TITLES = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration",
               "Micro", "Action Units", "Estimated Emotion", "Objective Classes", "Notes"]  # fmt: skip
SMIC_TITLES = ["Subject", "Filename", "OnsetF", "OffsetF", "FirstF", "LastF", "Emotion"]


def samm_row(subject: int | str, name: str, emotion: str, onset: int = 5562, units: int | str = "AU4+AU7") -> list:
    """A row of SAMM's sheet: 11 frames, the apex in the middle."""
    return [subject, name, 1, onset, onset + 5, onset + 10, 11, "1/2", units, emotion, 1, None]


def write_samm(root: Path, rows: list[list], name: str = "SAMM_Micro_FACS_Codes_v2.xlsx") -> None:
    """A SAMM folder: the titles on row 14 of the second sheet, and the frames of the rows."""
    notes = [[f"Note {line}", None, "Subject numbers are as recorded"] for line in range(1, 14)]
    write_book(root / name, [*notes, SAMM_TITLES, *rows], "MICRO_ONLY", other="MICRO_AND_MACRO")
    for row in rows:
        subject = str(row[1])[:3]
        write_frames(root / subject / row[1], (f"{subject}_{k:05d}.jpg" for k in range(row[3], row[5] + 1)))


def smic_row(subject: int, name: str, emotion: str, onset: int = 90823) -> list:
    """A row of SMIC's sheet: 9 frames."""
    return [subject, name, onset, onset + 8, onset - 50, onset + 60, emotion]


def write_smic(root: Path, rows: list[list], frame: str = "reg_image{:05d}.bmp") -> None:
    """A SMIC-HS folder: the annotation's first sheet is another, and the frames of the rows."""
    write_book(root / "SMIC-HS-E_annotation.xlsx", [SMIC_TITLES, *rows], "HS", other="VIS")
    kinds = {"ne": "negative", "po": "positive", "sur": "surprise"}
    for subject, clip, onset, offset, *_ in rows:
        folder = root / "SMIC_all_cropped" / "HS" / f"s{subject:02d}" / "micro" / kinds[clip.split("_")[1]] / clip
        write_frames(folder, (frame.format(number) for number in range(onset, offset + 1)))


def write_flow_images(root: Path, subjects: int = 4, per_class: int = 2) -> None:
    """A MEGC 2019 folder: noise with a blob whose place and channel tell the label."""
    for subject in range(1, subjects + 1):
        for label in range(3):
            for k in range(per_class):
                random = np.random.default_rng([subject, label, k])
                image = random.uniform(90, 160, (28, 28, 3))
                image[8 * label : 8 * label + 8, 10:18, label] += 90
                folder = root / f"sub{subject:02d}" / "u_test" / str(label)
                folder.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / f"sub{subject:02d}_EP{label}{k} .png"), image[:, :, ::-1])


STUDY = """
base = "V4"
subjects = "all"
trials = 3
finalists = 0
sampler = "random"
pruner = "none"
[set]
"flow.size" = 28
"frames.maps" = 1
"input.channels" = "z"
"model.position" = false
"model.blocks" = 1
"model.stem_mid" = 4
"model.stem_width" = 4
"model.attention_width" = 4
"train.epochs" = 2
"train.batch" = 8
[space]
"input.components" = { choice = ["uv", "uvo", "o"] }
"train.lr" = { float = [1e-3, 1e-2], log = true }
[[start]]
"train.lr" = 5e-3
"input.components" = "uvo"
"""


class Seen(NamedTuple):
    """What a search did: how many epochs and folds it trained."""

    epochs: int = 0
    folds: int = 0


def drive(search, study, executor, trials, in_flight=1, stop_after=None, then=None) -> Seen:
    """Run a search; after so many folds do something, or be stopped."""
    seen = Seen()
    with closing(run(search, study, Scheduler(executor, in_flight), trials)) as events:
        for event in events:
            seen = Seen(seen.epochs + isinstance(event, Trained), seen.folds + isinstance(event, Scored))
            if isinstance(event, Scored) and seen.folds == stop_after:
                if then is None:
                    raise KeyboardInterrupt
                then()
    return seen


def confirmation_of(study, seeds=(1000, 1001)) -> confirm.Confirmation:
    """The confirmation of a study's best trial on all subjects."""
    target = trial_target(study, None)
    loaded = load_data(target.data, target.run, silent)
    return confirm.Confirmation(target, loaded, loaded.select("all"), seeds)


def made_by(commands: Iterable[str], folder: Path, executor, text: str = STUDY) -> Path:
    """A folder with flow images and small.toml, in which these commands of mer-search were run."""
    with pytest.MonkeyPatch.context() as patch:
        share(executor, patch)
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        write_flow_images(folder / "flow")
        Path("small.toml").write_text(text)
        for words in commands:
            done = CliRunner().invoke(cli.main, words.split())
            assert done.exit_code == 0, done.output
    return folder


def copied_study(made: Path, to: Path, **attributes: object):
    """The study of a folder in which mer-search was run, in a copy, whose results folder it knows."""
    shutil.copytree(made, to, dirs_exist_ok=True)
    study = find_study(open_storage(f"sqlite:///{to}/mer-search.db"), None)
    for key, value in {"out": to / "runs" / study.study_name, **attributes}.items():
        study.set_user_attr(key, str(value))
    return study


def share(executor, patch):
    """Whatever opens an executor gets this one, and leaves it open."""
    patch.setattr(LocalExecutor, "close", lambda self: None)
    patch.setattr(Where, "open", lambda *_, **__: executor)
    return executor


GRAPHS = {}


def one_graph(patch) -> None:
    """The ONNX graph of networks of one kind is made once in a process: torch takes seconds for it."""
    make = export._graph

    def made(ensemble):
        run = ensemble.run
        key = (
            str([run.model, run.input, run.train, run.frames.maps, run.flow.size, run.data.dataset]),
            *(item.shape for item in ensemble.state_dict().values()),
        )
        GRAPHS[key] = graph = GRAPHS.get(key) or make(ensemble)
        graph.model.metadata_props.clear()
        return graph

    patch.setattr(export, "_graph", made)


def write_confirmation(job, executor) -> None:
    """Train a confirmation, and leave its files behind."""
    confirm.train([job], executor, silent)
    folds = folds_of(job.store)
    scoring.write(job, folds, scoring.summarise(job, folds))


def events_until(executor, kind) -> list:
    """An executor's events up to the first of that kind."""
    found = []
    while not any(isinstance(event, kind) for event in found):
        found += executor.poll()
    return found


def over(search, trial, outcome=None, error=None) -> Job:
    """The job of a trial that has ended already, with values or an error."""
    return Job(trial, search.loaded, search.folder(trial.number), outcome=outcome, error=error, over=True)


def folds_of(folder: Path) -> list:
    """All folds in a run's folder."""
    return list(load_folds(folder).values())


def fill(folder: Path) -> Path:
    """A file that takes whatever a small disk has left."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4096):
            pass
    return ballast


TOGETHER = {"uf1": 0.65, "ci95": (0.55, 0.75)}
PLAIN = {"uf1": 0.6, "uar": 0.61, "accuracy": 0.62, "ci95": (0.5, 0.7)}
SCORE = PLAIN | {"sd": 0.02, "averaged": TOGETHER, "uf1_by_seed": (0.58, 0.62), "classes_left_out": (),
                 "confusion": ((240, 20), (100, 132)), "f1_by_class": (0.7, 0.5),
                 "recall_by_class": (240 / 260, 132 / 232)}  # fmt: skip


BESIDE = {"first": "network", "second": "rbf_svm", "difference": 0.05, "ci95": (0.01, 0.09), "p": 0.01, "p_holm": 0.01,
          "same": False, "shown": True, "numbers": "UF1 0.600 and 0.550", "conclusion": ""}  # fmt: skip


def summary_with(**changes) -> Summary:
    """A summary with made-up figures."""
    fields = {
        "title": "trial <7>", "dataset": "CASME II, 5 classes (synthetic)", "synthetic": True, "epochs": 24, "gap": 0.1,
        "protocol": "leave-one-subject-out", "seeds": (1000, 1001), "n_clips": 246, "n_subjects": 26,
        "n_tuning": 10, "tuning_subjects": "hardest", "digest": "", "classes": ("a", "b"),
        "rules": {name: {"all": SCORE, "other": SCORE} for name in ("tail", "last", "best_test_epoch")},
        "baselines": {
            "logistic_regression": {"all": PLAIN | {"uf1": 0.5}},
            "rbf_svm": {"all": PLAIN | {"uf1": 0.55}, "other": PLAIN, "tuning": PLAIN | {"uf1": 0.45}},
        },
        "against_baseline": {"all": BESIDE, "other": BESIDE},
        "conclusions": ("trial <7> is NOT shown to be better",),
        "uf1_bbc": {
            "uf1": 0.44, "ci95": (0.2, 0.6), "best_trial_uf1": 0.66, "trials": 5, "n_subjects": 10, "rule": "tail",
            "cross_fitted": {"uf1": 0.43, "ci95": None},
            "of": {"trials": (), "subjects": ()},
        },
    }  # fmt: skip
    return Summary.model_validate(fields | changes)


ALONE = {"tail": {"all": SCORE}, "best_test_epoch": {"all": SCORE}}  # rules, of all subjects together


def compared(*right, tuning=(), start=None):
    """A network for each list of how many of 10 clips, half of either class, are right: for each of 8 subjects."""
    matrices = [np.array([[[[k // 2, 5 - k // 2], [5 - (k - k // 2), k - k // 2]] for k in each]]) for each in right]
    names = ["trial 7", "the search's start", "trial 8"]
    met = tuple(Contestant(name, "", each) for name, each in zip(names, matrices, strict=False))
    found = comparison(met, tuple(f"s{k}" for k in range(8)), (1000,), tuning, "ab", "CASME II", False)
    return found.model_copy(update={"start": start})


FINE, POOR, MIXED, NEARLY = [9] * 8, [5] * 8, [9, 8, 10, 9, 8, 9, 10, 9], [8, 8, 10, 9, 8, 9, 10, 8]


def one_line(result, code, *words):
    """The command failed as a command should: one clear line, the right code, no traceback."""
    assert result.exit_code == code, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in lines[0]


def states(study) -> list:
    """The names of the states of a study's trials."""
    return [trial.state.name for trial in study.get_trials()]

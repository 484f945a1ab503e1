"""The commands that look at data, networks and tables."""

import json
import re
import shutil

import cv2
from small import one_line, write_casme2, write_frames


def test_the_check_of_a_dataset(mer_search, tmp_path):
    write_casme2(tmp_path / "casme2", 2)
    found = json.loads(mer_search("data", "check", tmp_path / "casme2", "--json").stdout)
    assert (found["n_clips"], found["n_subjects"], found["usable"], found["problems"]) == (8, 2, True, [])
    assert "no problems" in mer_search("data", "check", tmp_path / "casme2").stdout
    three = json.loads(mer_search("data", "check", tmp_path / "casme2", "--task", 3, "--json").stdout)
    assert "casme2 --task 3" in mer_search("data", "check", tmp_path / "casme2", "--task", 3).stdout
    assert (three["n_clips"], three["task"], three["classes"]) == (6, "3", ["negative", "positive", "surprise"])
    seen = mer_search("data", "check", tmp_path / "casme2", "--picture", "clips.png").stdout
    assert f"next: mer-search run --data {tmp_path / 'casme2'}" in seen
    assert cv2.imread("clips.png").std() > 20
    one_line(mer_search("data", "check", tmp_path / "casme2", "--task", 4), 2, "one of 5, 7, 3")
    shutil.rmtree(tmp_path / "casme2" / "Cropped" / "sub02")
    frame = next((tmp_path / "casme2" / "Cropped" / "sub01" / "EP01_01f").iterdir())
    cv2.imwrite(str(frame.with_suffix(".bmp" if frame.suffix == ".png" else ".png")), cv2.imread(str(frame)))
    less = mer_search("data", "check", tmp_path / "casme2").stdout
    assert "5 problems, 4 clips left out" in less and "No clip is left of sub02." in less
    write_casme2(tmp_path / "alone", 1)
    unusable = mer_search("data", "check", tmp_path / "alone")
    assert unusable.exit_code == 1
    assert "two subjects" in unusable.stdout
    shutil.rmtree(tmp_path / "alone" / "Cropped" / "sub01")
    (tmp_path / "alone" / "Cropped" / "sub01" / "EP01_01f").mkdir(parents=True)
    write_frames(tmp_path / "alone" / "Cropped" / "sub01" / "EP01_01f", ["reg_img11.jpg"])
    (row,) = re.findall("^ all .*", mer_search("data", "check", tmp_path / "alone").stdout, re.M)
    assert row.split() == ["all", *"000000"]


def test_a_preview_is_a_picture_of_the_clip(mer_search, tmp_path):
    write_casme2(tmp_path / "casme2", 1)
    for preset in ("V3NR", "MMNet", "V2"):
        result = mer_search("data", "preview", "EP02_01f", "--data", tmp_path / "casme2", "--preset", preset)
        assert result.exit_code == 0, result.output
        assert result.stdout.endswith("sub01/EP02_01f: sub01_EP02_01f.png\n")
        assert cv2.imread("sub01_EP02_01f.png").std() > 10
    arguments = ["data", "preview", "EP03_01f", "--data", tmp_path / "casme2", "--set", "data.task=3"]
    one_line(mer_search(*arguments), 2, "'EP03_01f'; some are sub01/EP0")  # of the task "3" it is none
    write_casme2(tmp_path / "three", 3)
    arguments = ["data", "preview", "sub3/EP02_01f", "--data", tmp_path / "three"]  # sub01 has a clip of that name
    one_line(mer_search(*arguments), 2, "some are sub03/EP02_03f, sub03/EP0")


def test_without_the_libraries_of_opencv_one_line_says_what_to_install(mer_search, monkeypatch):
    def missing(*_):
        raise ImportError("libGL.so.1: cannot open shared object file", name="cv2", path="/lib/cv2/cv2.abi3.so")

    monkeypatch.setattr("mer_search.data.open_folder", missing)
    one_line(mer_search("data", "check", "."), 1, "opencv-python needs libGL.so.1", "apt install libgl1")


def test_the_presets_are_a_list_and_each_that_was_measured_equals_its_public_code(mer_search):
    rows = json.loads(mer_search("presets", "--json").stdout)
    assert set(rows[0]) == {"name", "parameters", "gflop", "published_f1", "source"}
    assert {row["name"]: row["published_f1"] for row in rows}["V3NR"] == 0.8650
    assert "V5NR" in mer_search("presets").stdout
    rows = json.loads(mer_search("presets", "--parity", "--json").stdout)
    assert {"MMNet", "V1", "V2", "V3NR", "V4", "V5NR"} <= {row["name"] for row in rows}
    assert all(row["equal"] and row["parameters"] == row["public_parameters"] for row in rows)
    shown = mer_search("presets", "--parity").stdout
    assert len(re.findall(r"\byes\b", shown)) == len(rows) and "NO" not in shown

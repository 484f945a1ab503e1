import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from small import STUDY, silent, write_flow_images

from mer_search.config import with_values
from mer_search.data import open_folder
from mer_search.data.clips import counts
from mer_search.data.flow import read_flow_image
from mer_search.data.loose import Moments, find
from mer_search.errors import DataError, UsageError
from mer_search.search import space
from mer_search.search.workspace import load_data
from mer_search.training.loop import train_fold

ONE = space.parse(STUDY, "small").base
TWO = with_values(ONE, {"frames.maps": 2})
REAL = Path(__file__).parents[2] / "shared" / "data" / "megc2019_flow"


def test_names_labels_and_subjects(tmp_path):
    write_flow_images(tmp_path)
    (tmp_path / "sub01" / "u_test" / "7").mkdir()
    (tmp_path / "sub01" / "u_test" / "7" / "sub01_EP99 .png").write_bytes(b"x")
    folder = open_folder(tmp_path)
    assert (folder.name, len(folder.clips)) == ("megc2019", 24)
    assert folder.clips[0].id == "sub01/sub01_EP00"
    assert {clip.label for clip in folder.clips} == {"negative", "positive", "surprise"}
    assert [problem.clip for problem in folder.problems] == ["sub01/sub01_EP99"]


def _with_second_maps(root: Path) -> None:
    """Beside each picture <clip> .png one more, <clip>_1 .PNG, with other motion."""
    for path in list(root.glob("*/u_test/*/*.png")):
        other = cv2.imread(str(path))[::-1, :, :]
        cv2.imwrite(str(path.with_name(f"{path.stem.strip()}_1 .PNG")), other)


def test_a_clip_may_have_two_maps(tmp_path):
    data = tmp_path / "data"
    write_flow_images(data)
    one = load_data(data, ONE, silent)
    _with_second_maps(data)
    two = load_data(data, TWO, silent)
    assert (two.motion.flow.shape, len(two.clips)) == ((24, 2, 3, 28, 28), 24)
    assert (two.motion.flow[:, :1] == one.motion.flow).all()
    assert (two.motion.flow[:, 1] == one.motion.flow[:, 0, :, ::-1]).all()
    assert load_data(data, ONE, silent).motion_digest == one.motion_digest
    assert np.isfinite(train_fold(two.run, two.tensors, "sub01", 0).predictions.probabilities).all()
    with pytest.raises(UsageError, match=r"have 2 motion maps and no frames, so that frames.maps must be 2, but"):
        load_data(data, with_values(ONE, {"frames.maps": 3, "model.temporal": "collapse"}), silent)
    (data / "sub02" / "u_test" / "0" / "sub02_EP00_1 .PNG").unlink()
    (problem,) = open_folder(data).problems
    assert "must have a second map sub02_EP00_1.png, as most clips have" in problem.what


def test_a_flow_image_brings_its_second_map_along(tmp_path):
    write_flow_images(tmp_path / "data")
    _with_second_maps(tmp_path / "data")
    folder = open_folder(tmp_path / "data")
    (tmp_path / "alone").mkdir()
    for path in folder.clips[0].frames:
        shutil.copy(path, tmp_path / "alone")
    first, second = sorted((tmp_path / "alone").iterdir())
    assert find(str(first), folder.path, lambda: folder, TWO, Moments(), True).clip.frames == (first, second)
    second.unlink()
    with pytest.raises(DataError, match=r"take 2 flow images a clip, but .* put sub01_EP00_1.png beside it"):
        find(str(first), folder.path, lambda: folder, TWO, Moments(), True)


@pytest.mark.skipif(not REAL.exists(), reason="the real flow images are not here")
def test_the_real_part_of_megc2019():
    folder = open_folder(REAL)
    table = counts(folder.clips, folder.classes)
    assert (len(folder.clips), len(table), folder.problems) == (309, 40, ())
    assert [sum(column) for column in zip(*table.values(), strict=True)] == [158, 83, 68]


def test_without_a_clip_that_can_be_used_it_cannot_be_told_who_is_in_another(tmp_path):
    write_flow_images(tmp_path / "data")
    cv2.imwrite(str(tmp_path / "other.png"), np.zeros((28, 28, 3)))
    empty = replace(open_folder(tmp_path / "data"), clips=())
    with pytest.raises(DataError, match="must hold clips that tell who is in this one, but none of them can be used"):
        find(str(tmp_path / "other.png"), empty.path, lambda: empty, ONE, Moments(), True)


def test_a_picture_that_is_no_flow_image_is_refused(tmp_path):
    write_flow_images(tmp_path / "data")
    cv2.imwrite(str(tmp_path / "wide.png"), np.random.default_rng(0).integers(0, 255, (28, 56, 3)))
    with pytest.raises(DataError, match=r"must be about square, but .*wide\.png has 56 x 28 pixels"):
        read_flow_image(tmp_path / "wide.png", 28)
    with pytest.raises(DataError, match="onset, apex and offset are of frames"):
        find("sub01/sub01_EP00", tmp_path / "data", lambda: open_folder(tmp_path / "data"), ONE, Moments(3), True)

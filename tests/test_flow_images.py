from pathlib import Path

import pytest
from small import write_flow_images

from mer_search.data import open_folder
from mer_search.data.clips import counts

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


@pytest.mark.skipif(not REAL.exists(), reason="the real flow images are not here")
def test_the_real_part_of_megc2019():
    folder = open_folder(REAL)
    table = counts(folder.clips, folder.classes)
    assert (len(folder.clips), len(table), folder.problems) == (309, 40, ())
    assert [sum(column) for column in zip(*table.values(), strict=True)] == [158, 83, 68]

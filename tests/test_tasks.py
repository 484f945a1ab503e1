import pytest
from small import silent, write_casme2, write_sheet

from mer_search.config import with_values
from mer_search.data import DATASETS, fit, open_folder
from mer_search.data.clips import checksum
from mer_search.data.readers import layouts
from mer_search.data.synthetic.dataset import COUNTS
from mer_search.errors import UsageError
from mer_search.search.workspace import load_data


@pytest.fixture
def folder(tmp_path):
    """CASME II with the rows of two clips that only some of the tasks have."""
    rows = write_casme2(tmp_path / "data", 2)
    rows[0][8], rows[1][8] = "Sadness", "repression"
    write_sheet(tmp_path / "data" / "CASME2-coding-20140508.xlsx", rows)
    return tmp_path / "data"


def _labels(folder):
    return [clip.label for clip in folder.clips]


def test_a_task_has_classes_and_leaves_the_other_emotions_out(folder):
    five, seven, three = (open_folder(folder, task) for task in ("5", "7", "3"))
    first = ["repression", "others", "surprise"]
    second = ["happiness", "disgust", "others", "surprise"]
    assert _labels(five) == first + second
    assert _labels(seven) == ["sadness", *first, *second]
    assert _labels(three) == ["negative", "surprise", "positive", "negative", "surprise"]
    assert seven.classes == ("happiness", "repression", "disgust", "surprise", "others", "sadness", "fear")
    assert [each.title for each in (five, seven, three)] == [f"CASME II, {k} classes" for k in (5, 7, 3)]
    assert five.problems == seven.problems == three.problems == ()


def test_every_emotion_of_a_task_has_one_of_its_classes():
    for dataset in DATASETS.values():
        for name, task in dataset.tasks.items():
            assert len(task.classes) == int(name.removeprefix(f"{task.by}-"))
            assert set(task.table.values()) == set(task.classes)


def test_the_tasks_have_the_published_numbers_of_clips():
    """Counts of the spreadsheets: CASME II per class as published, SAMM likewise."""
    sums = dict(zip(layouts.CLASSES, map(sum, zip(*COUNTS.values(), strict=True)), strict=True))
    sums |= {"sadness": 7, "fear": 2}
    samm_sums = {"anger": 57, "happiness": 26, "other": 26, "surprise": 15, "contempt": 12}
    samm_sums |= {"disgust": 9, "fear": 8, "sadness": 6}

    def count(task, emotions):
        return [sum(n for e, n in emotions.items() if task.table.get(e) == label) for label in task.classes]

    assert sum(count(layouts.CASME2.tasks["5"], sums)) == 246
    assert sum(count(layouts.CASME2.tasks["7"], sums)) == 255
    negative, positive, surprise = count(layouts.CASME2.tasks["3"], sums)
    assert (negative - len(layouts.NOT_IN_MEGC), positive, surprise) == (88, 32, 25)
    assert sum(count(layouts.SAMM.tasks["5"], samm_sums)) == 136
    assert count(layouts.SAMM.tasks["3"], samm_sums) == [92, 26, 15]


def test_the_run_knows_its_task_and_is_loaded_with_it(folder, tiny):
    run = load_data(folder, tiny, silent).run
    assert run.data.task == "5"
    loaded = load_data(folder, with_values(tiny, {"data.task": "3"}), silent)
    assert (loaded.run.data.task, loaded.run.data.classes) == ("3", ("negative", "positive", "surprise"))
    assert sorted(loaded.labels.tolist()) == [0, 0, 1, 2, 2]
    again = load_data(folder, loaded.run, silent)
    assert again.run == loaded.run


def test_a_study_cannot_vary_its_task(folder, tiny):
    opened = open_folder(folder, "5")
    with pytest.raises(UsageError, match=r"data\.task must be '5'.* but is '3'"):
        fit(with_values(tiny, {"data.task": "3"}), opened, opened.clips)


def test_the_checksum_depends_on_the_task_and_on_action_units(tmp_path):
    rows = write_casme2(tmp_path, 2)
    five, three = (checksum(open_folder(tmp_path, task).clips) for task in ("5", "3"))
    assert five != three
    rows[0][7] = "6+12"
    write_sheet(tmp_path / "CASME2-coding-20140508.xlsx", rows)
    assert checksum(open_folder(tmp_path).clips) != five

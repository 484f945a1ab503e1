"""What the report shows of single clips, on a small study that is confirmed."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from small import (
    STUDY,
    confirmation_of,
    copied_study,
    folds_of,
    silent,
    write_confirmation,
    write_flow_images,
)

from mer_search.confirmation.difficulty import MIN_NETWORKS, ClipErrors, of_study
from mer_search.errors import DataError
from mer_search.inference.saliency import fold_predictions, saliency_maps
from mer_search.report import saliency as page
from mer_search.report.document import Sheet, Table, Text
from mer_search.report.page import write_study
from mer_search.training.fold_store import checkpoint_file, load_network
from mer_search.training.predict_proba import predict_proba


@pytest.fixture
def study(confirmed_folder, tmp_path):
    """A study of two trials, the best of which was confirmed with two seeds."""
    return copied_study(confirmed_folder, tmp_path, data=tmp_path / "flow")


@pytest.fixture
def confirmation(study):
    return confirmation_of(study)


def _kinds(section):
    return [type(block) for block in section.blocks]


def _looked_at(confirmation, clips):
    return page.looked_at(confirmation.folder, folds_of(confirmation.store), confirmation.loaded.run, clips, silent)


def test_every_clip_is_looked_at_by_the_network_that_never_saw_its_person(confirmation):
    loaded, folder = confirmation.loaded, confirmation.folder
    told = fold_predictions(folds_of(confirmation.store), 1000)
    assert {each.clip for each in told} == set(loaded.tensors.names)
    network = load_network(checkpoint_file(folder, 1000, told[0].fold), loaded.run, "cpu")
    place = loaded.tensors.names.index(told[0].clip)
    probs = predict_proba(network, loaded.run, loaded.tensors.flow[place : place + 1].float(), None)
    assert told[0].probs == pytest.approx(probs[0].numpy(), abs=2e-3)  # stored in half precision
    seen = saliency_maps(folder, loaded, 1000, told, silent)
    assert set(seen) == set(loaded.tensors.names)
    assert {each.truth.shape for each in seen.values()} == {(14, 14)}
    assert {len(each.attention) for each in seen.values()} == {1}
    for each in told:
        assert np.array_equal(seen[each.clip].truth, seen[each.clip].guess) == each.right
    (checkpoint_file(folder, 1000, told[0].fold)).write_bytes(b"damaged")
    with pytest.raises(DataError, match="must hold a network of its run"):
        saliency_maps(folder, loaded, 1000, told, silent)


def test_classes_and_the_worst_mistakes_are_shown(confirmation):
    section = _looked_at(confirmation, confirmation.loaded)
    assert _kinds(section) == [Text, Sheet, Table, Sheet]
    classes, mistakes = section.blocks[1], section.blocks[3]
    told = fold_predictions(folds_of(confirmation.store), 1000)
    right = [sum(each.right and each.truth == k for each in told) for k in range(3)]
    assert [tile.text.split(" clips")[0] for tile in classes.tiles] == [f"{n} of 8" for n in right]
    assert [len(tile.pictures) for tile in classes.tiles] == [5 if n else 0 for n in right]
    worst = min((each for each in told if not each.right), key=lambda each: each.probs[each.truth])
    assert mistakes.tiles[0].title.startswith(f"{worst.clip}: ")
    assert section.blocks[2].rows[0][0] == worst.clip
    assert len(mistakes.tiles) == min(page.MISTAKES_SHOWN, 24 - sum(right)) == len(section.blocks[2].rows)


def test_a_network_that_makes_no_mistake_is_said_to_make_none(confirmation):
    all_right = [replace(fold, labels=fold.probabilities[-1].argmax(-1)) for fold in folds_of(confirmation.store)]
    section = page.looked_at(confirmation.folder, all_right, confirmation.loaded.run, confirmation.loaded, silent)
    assert _kinds(section) == [Text, Sheet, Text]


def test_a_network_without_attention_is_said_to_have_none(begin, executor):
    _, study = begin(STUDY.replace("[set]", '[set]\n"model.attention" = false'), trials=1)
    confirmation = confirmation_of(study, (1000,))
    write_confirmation(confirmation, executor)
    section = _looked_at(confirmation, confirmation.loaded)
    assert section.blocks[1] == Text(page.NO_ATTENTION)
    labels = {label for sheet in section.blocks[2::2] for tile in sheet.tiles for label, _ in tile.pictures}
    assert "its Grad-CAM" in labels
    assert not any("attention" in label for label in labels)


def test_without_its_networks_the_list_of_mistakes_is_left(confirmation):
    shutil.rmtree(confirmation.folder / "checkpoints")
    section = _looked_at(confirmation, confirmation.loaded)
    assert _kinds(section) == [Text, Text, Table]
    assert section.blocks[1].tone == "unsure"


@pytest.mark.parametrize(
    ("change", "words"),
    [(shutil.rmtree, "does not exist"), (lambda path: write_flow_images(path, subjects=5), "holds other clips")],
    ids=["gone", "another"],
)
def test_without_its_data_the_report_keeps_its_tables_and_says_why(study, tmp_path, change, words):
    change(tmp_path / "flow")
    page = write_study(study, None, silent)
    html = page.read_text()
    assert words in html
    assert "class=unsure>There are no pictures here, because they need the study&#39;s data" in html
    assert "The worst mistakes" in html
    assert 'class="sheet"' not in html
    judged = [row for row in of_study(study) if row.always_wrong]
    with (page.parent / "always_wrong.csv").open() as file:
        assert [row["clip"] for row in csv.DictReader(file)] == [row.clip for row in judged]


def test_clips_are_judged_by_all_trials_and_a_confirmation_adds_seeds_to_its_own(study, confirmation):
    confirmed = of_study(study)
    assert {row.n_networks for row in confirmed} == {2}  # two trials, one of them with two more seeds
    shutil.rmtree(confirmation.folder)
    assert {row.n_networks for row in of_study(study)} == {2} and of_study(study) != confirmed


def _always(number, wrong=4, networks=4):
    return ClipErrors(f"sub01/sub01_EP{number}", 0, 1, wrong, networks, 0.1)


def test_the_list_is_cut_and_says_so(confirmation, monkeypatch):
    names = ["a", "b", "c"]
    monkeypatch.setattr(page, "CLIPS_LISTED", 2)
    monkeypatch.setattr(page, "CLIPS_SHOWN", 1)
    section = page.always_wrong(
        [_always("00"), _always("01"), _always("10"), _always("11", 3)], names, confirmation.loaded
    )
    assert _kinds(section) == [Text, Text, Table, Sheet]
    assert "Of 4 clips on which 3 networks or more were tested, 3 were" in section.blocks[0].text
    assert "a 3 of 4, b 0 of 0" in section.blocks[0].text
    assert len(section.blocks[2].rows) == 2
    assert section.blocks[2].caption.startswith("The first 2 of 3.")
    assert [tile.title for tile in section.blocks[3].tiles] == ["sub01/sub01_EP00"]


def test_no_such_clip_and_too_few_networks_are_said():
    missing = Text("no data")
    assert "0 were taken" in page.always_wrong([_always("00", 0)], ["a"], missing).blocks[0].text
    few = page.always_wrong([_always("00", 2, MIN_NETWORKS - 1)], ["a"], missing)
    assert _kinds(few) == [Text]
    assert f"{MIN_NETWORKS} networks or more" in few.blocks[0].text

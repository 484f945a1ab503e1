import math

import numpy as np
import pytest
import torch
from conftest import TINY, write_casme2, write_flow_images
from hypothesis import given, settings
from hypothesis import strategies as st

from mer_search.config import Run, with_values
from mer_search.errors import Infeasible
from mer_search.search.workspace import load_data
from mer_search.training import loop
from mer_search.training.augment import mirror
from mer_search.training.folds import fold_seed, leave_one_out
from mer_search.training.loop import network_input, train_fold

SMALL = TINY | {
    "flow.size": 28,
    "frames.maps": 1,
    "input.channels": "z",
    "input.components": "uvo",
    "model.position": False,
    "model.blocks": 1,
}
ALL_AT_ONCE = {"train.mixup": 0.4, "train.noise": 0.1, "train.class_weights": 1.0, "model.dropout": 0.2}
TEST = "sub02"  # its clips are the 6 from number 6 on; 18 train


@pytest.fixture
def loaded(tmp_path):
    """24 easy flow images of four subjects and a small run."""
    write_flow_images(tmp_path / "flow")
    return load_data(tmp_path / "flow", with_values(Run(), SMALL), lambda *_: None)


def _train(loaded, seed=0, on_epoch=lambda epoch: None, clips=None, **values):
    run = with_values(loaded.run, {key.replace("__", "."): value for key, value in values.items()})
    return train_fold(run, clips or loaded.tensors, TEST, seed, on_epoch)


def _losses(trained):
    return [epoch.train_loss for epoch in trained.history]


def test_a_fold_leaves_a_probability_for_every_epoch_clip_and_class(loaded):
    seen = []
    trained = _train(loaded, 5, seen.append)
    fold = trained.predictions
    own = [i for i, subject in enumerate(loaded.subjects) if subject == TEST]
    assert (fold.seed, fold.subject) == (5, TEST)
    assert fold.clips == tuple(loaded.clips[i].id for i in own)
    np.testing.assert_array_equal(fold.labels, loaded.labels[own])
    assert (fold.probabilities.shape, fold.probabilities.dtype) == ((3, 6, 3), np.float16)
    np.testing.assert_allclose(fold.probabilities.sum(-1, dtype=np.float64), 1, atol=2e-3)
    assert seen == trained.history
    assert [(row.seed, row.subject, row.epoch) for row in seen] == [(5, TEST, 1), (5, TEST, 2), (5, TEST, 3)]


def test_predictions_are_of_clips_as_they_are_each_judged_alone(loaded):
    trained = _train(loaded, model__dropout=0.5)
    network = trained.network.eval()
    with torch.no_grad():
        maps = [network_input(loaded.run, flow.float(), None, 0)[0] for flow in loaded.tensors.flow[6:12].split(1)]
        alone = torch.cat([network(one).softmax(1) for one in maps])
    np.testing.assert_allclose(trained.predictions.probabilities[-1], alone, atol=1e-3)


@pytest.mark.parametrize("values", [{}, ALL_AT_ONCE], ids=["plain", "all at once"])
def test_a_seed_gives_bitwise_the_same_predictions_whatever_ran_before(loaded, values):
    first = _train(loaded, 1, **values)
    other = _train(loaded, 2, **values)
    torch.manual_seed(99)
    again = _train(loaded, 1, **values)
    np.testing.assert_array_equal(first.predictions.probabilities, again.predictions.probabilities)
    assert _losses(first) == _losses(again)
    assert (first.predictions.probabilities != other.predictions.probabilities).any()


def test_a_shorter_run_is_the_beginning_of_a_longer_one(loaded):
    short, long = (_train(loaded, train__epochs=epochs).predictions.probabilities for epochs in (2, 5))
    np.testing.assert_array_equal(short, long[:2])


def test_the_learning_rate_decays_until_the_plateau(loaded):
    trained = _train(loaded, train__epochs=5, train__lr=0.008, train__gamma=0.5, train__plateau=2)
    assert [row.lr for row in trained.history] == pytest.approx([0.008, 0.004, 0.002, 0.002, 0.002])


def test_the_learning_rate_is_the_optimisers(loaded):
    after = {
        epochs: _train(loaded, train__epochs=epochs, train__gamma=1e-9, train__plateau=1).network.head.weight
        for epochs in (1, 3)
    }
    torch.testing.assert_close(after[1], after[3])
    moved = _train(loaded, train__epochs=3, train__gamma=1.0).network.head.weight
    assert (moved - after[1]).abs().max() > 1e-3


@pytest.mark.parametrize("what", ["diverging", "damaged flow"])
def test_a_loss_that_is_no_number_is_infeasible(loaded, what):
    values, clips = {"train__lr": 10.0, "train__weight_decay": 10.0, "train__epochs": 20}, loaded.tensors
    if what == "damaged flow":
        values, clips = {"input__channels": "r"}, clips._replace(flow=torch.full_like(clips.flow, math.nan))
    seen = []
    words = rf"are not in epoch \d+ of {TEST} \(loss .*\); try a smaller train\.lr"
    with pytest.raises(Infeasible, match=words) as caught:
        _train(loaded, on_epoch=seen.append, clips=clips, **values)
    assert caught.value.constraint == "finite loss"
    assert all(math.isfinite(row.train_loss) for row in seen)


def test_it_learns_and_what_it_learns_holds_for_a_subject_never_seen(loaded):
    trained = _train(loaded, train__epochs=15, train__lr=3e-3)
    assert trained.history[-1].train_accuracy > 0.8
    assert trained.history[-1].train_loss < 0.7 * trained.history[0].train_loss
    fold = trained.predictions
    assert (fold.probabilities[-1].argmax(-1) == fold.labels).mean() > 0.6


@pytest.mark.parametrize(("batch", "sizes"), [(8, [8, 8, 8]), (17, [17, 17]), (18, [18]), (100, [18])])
def test_all_batches_have_the_same_size(loaded, monkeypatch, batch, sizes):
    found = []
    real = loop.loss
    monkeypatch.setattr(loop, "loss", lambda logits, *rest: found.append(len(logits)) or real(logits, *rest))
    _train(loaded, train__epochs=1, train__batch=batch)
    assert found == sizes


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 40), st.integers(2, 40))
def test_an_epoch_sees_every_clip_and_none_more_than_twice(clips, batch):
    indices = torch.arange(100, 100 + clips)
    batches = list(loop._batches(indices, batch, torch.Generator().manual_seed(0)))
    assert len({len(part) for part in batches}) == 1
    times = torch.bincount(torch.cat(batches) - 100, minlength=clips)
    assert (len(times), int(times.min())) == (clips, 1)
    assert int(times.max()) <= 2


def test_the_test_subjects_labels_do_not_influence_training(loaded):
    labels = loaded.tensors.labels.clone()
    labels[6:12] = 0
    changed = loaded.tensors._replace(labels=labels)
    one, other = (_train(loaded, clips=clips, train__class_weights=1.0) for clips in (loaded.tensors, changed))
    assert (one.predictions.labels != other.predictions.labels).any()
    np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)
    assert one.history[-1].test_log_loss != other.history[-1].test_log_loss


def test_the_test_subjects_motion_does_not_influence_training(loaded):
    flow = loaded.tensors.flow.clone()
    flow[6:12] = flow[6:12].flip(-1)
    one, other = _train(loaded), _train(loaded, clips=loaded.tensors._replace(flow=flow))
    assert (one.predictions.probabilities != other.predictions.probabilities).any()
    assert _losses(one) == _losses(other)


def test_all_parts_at_once_train_on_clips_of_frames(tmp_path, tiny):
    write_casme2(tmp_path / "casme2")
    run = with_values(tiny, ALL_AT_ONCE)
    loaded = load_data(tmp_path / "casme2", run, lambda *_: None)
    clips = loaded.tensors._replace(labels=loaded.tensors.labels % 4)  # two classes become one: weights differ
    trained = _train(loaded, clips=clips)
    assert trained.predictions.probabilities.shape == (3, 4, 5)
    np.testing.assert_allclose(trained.predictions.probabilities.sum(-1, dtype=np.float64), 1, atol=3e-3)
    others = {key: _train(loaded, clips=clips, **{key: 0.0}) for key in ALL_AT_ONCE}
    others["onset image"] = _train(loaded, clips=clips._replace(onset=clips.onset // 2))
    for part, other in others.items():
        assert _losses(other) != pytest.approx(_losses(trained), rel=1e-4), part


def test_a_fold_that_diverges_in_its_last_epoch_is_infeasible(loaded):
    wild = with_values(loaded.run, {"train.lr": 10.0, "train.weight_decay": 10.0, "train.epochs": 2})
    with pytest.raises(Infeasible, match="predictions must stay finite"):
        train_fold(wild, loaded.tensors, "sub01", 1)


def test_a_mirroring_run_judges_a_clip_and_its_mirror_image_alike(loaded):
    """Same training, so that only the prediction differs: the mean over both is the same for either of them."""
    clips = loaded.tensors
    mirrored = clips._replace(flow=mirror(clips.flow.float()).half())
    plain, both = _train(loaded), _train(loaded, train__mirror=True)
    torch.testing.assert_close(plain.network.head.weight, both.network.head.weight)
    assert not np.array_equal(plain.predictions.probabilities, both.predictions.probabilities)
    state = loop._Fold(with_values(loaded.run, {"train.mirror": True}), clips, leave_one_out(loaded.subjects, TEST), 0)
    one = state.predict(state.test)
    state.clips = mirrored
    np.testing.assert_allclose(state.predict(state.test), one, atol=1e-3)


TWO_STAGES = {
    "units.use": "as_they_are",
    "units.epochs": 2,
    "units.lr": 2e-3,
    "units.unfreeze_epoch": 2,
    "train.epochs": 3,
    "frames.jitter": 0.0,
}


@pytest.fixture
def clips(tmp_path, tiny):
    """16 clips of four subjects, with action units: 12, or 4 and R10. The 4 from number 4 on are TEST's."""
    write_casme2(tmp_path / "casme2")
    return load_data(tmp_path / "casme2", with_values(tiny, TWO_STAGES), lambda *_: None)


def _weights(trained):
    """What a network consists of, batch statistics too, in two groups: the last layer and all others."""
    head, rest = {}, {}
    for name, item in trained.network.state_dict().items():
        (head if name.startswith("head.") else rest)[name] = item
    return head, rest


def _alike(one, other):
    return {name for name, item in one.items() if torch.equal(item, other[name])}


def test_two_stages_leave_rows_of_both_and_predictions_of_the_second(clips):
    seen = []
    trained = _train(clips, on_epoch=seen.append)
    rows = trained.history
    assert seen == rows
    assert [(row.stage, row.epoch) for row in rows] == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
    for row in rows[:2]:
        assert 0 <= row.train_au_f1 <= 1 and 0 <= row.test_au_f1 <= 1
        assert math.isnan(row.train_accuracy) and math.isnan(row.test_log_loss)
    for row in rows[2:]:
        assert math.isnan(row.train_au_f1) and math.isnan(row.test_au_f1)
        assert 0 <= row.train_accuracy <= 1 and row.test_log_loss > 0
    assert trained.predictions.probabilities.shape == (3, 4, 5)


def test_a_shorter_second_stage_is_the_beginning_of_a_longer_one(clips):
    short, long = (_train(clips, train__epochs=epochs).predictions.probabilities for epochs in (2, 4))
    np.testing.assert_array_equal(short, long[:2])


@pytest.mark.parametrize("use", ["as_they_are", "thresholded"])
def test_until_they_are_unfrozen_all_but_the_last_layer_stay_as_they_were(clips, use):
    frozen = {epochs: _weights(_train(clips, units__use=use, train__epochs=epochs)) for epochs in (1, 2)}
    assert _alike(frozen[1][1], frozen[2][1]) == set(frozen[1][1])
    assert any(name.endswith("running_mean") for name in frozen[1][1])
    assert not _alike(frozen[1][0], frozen[2][0])
    head, rest = _weights(_train(clips, units__use=use))
    assert not _alike(head, frozen[2][0])
    still = {"units.weight", "units.bias"} if use == "thresholded" else set()  # no gradient, and so no decay
    assert _alike(rest, frozen[2][1]) == still


def test_from_the_first_epoch_everything_may_be_trained(clips):
    assert not _alike(*(_weights(_train(clips, units__unfreeze_epoch=0, train__epochs=epochs))[1] for epochs in (1, 2)))


def test_each_stage_has_a_schedule_of_its_own(clips):
    first = {"units__epochs": 3, "units__lr": 0.004, "units__gamma": 0.5, "units__plateau": 1}
    second = {"train__epochs": 4, "train__lr": 0.001, "train__gamma": 0.1, "train__plateau": 2}
    rates = [row.lr for row in _train(clips, **first, **second).history]
    assert rates == pytest.approx([0.004, 0.002, 0.002, 1e-3, 1e-4, 1e-5, 1e-5])


def test_a_stages_learning_rate_is_its_optimisers(clips):
    """A rate too small to move anything, in either stage."""
    still = {"train__lr": 1e-12, "units__unfreeze_epoch": 0}
    one, two = (_weights(_train(clips, train__epochs=epochs, **still)) for epochs in (1, 2))
    torch.testing.assert_close(one[0], two[0], atol=1e-9, rtol=0)
    units = {
        epochs: _train(clips, units__epochs=epochs, units__lr=1e-12, train__epochs=1).network.units.weight
        for epochs in (1, 2)
    }
    torch.testing.assert_close(units[1], units[2], atol=1e-9, rtol=0)
    moved = _train(clips, units__epochs=2, train__epochs=1).network.units.weight
    assert (moved - units[1]).abs().max() > 1e-4


def test_the_second_stage_starts_from_the_best_epoch_by_training_f1(clips, monkeypatch):
    """Later epochs with a lower, or an equal, or no F1 change nothing."""
    outcomes = {}
    for f1s in ([0.1, 0.9], [0.1, 0.9, 0.9, 0.2, math.nan], [0.1, 0.2, 0.95]):
        told = iter(f1s)
        real = loop._Fold.train_units
        with monkeypatch.context() as patch:
            patch.setattr(loop._Fold, "train_units", lambda self, epoch: (real(self, epoch)[0], next(told)))  # noqa: B023
            trained = _train(clips, units__epochs=len(f1s), train__epochs=1, units__unfreeze_epoch=9)
        assert [row.train_au_f1 for row in trained.history[: len(f1s)]] == pytest.approx(f1s, nan_ok=True)
        outcomes[len(f1s)] = _weights(trained)[1]
    assert _alike(outcomes[2], outcomes[5]) == set(outcomes[2])
    assert not _alike(outcomes[2], outcomes[3])


@pytest.mark.parametrize("values", [{}, {"units__use": "thresholded"}], ids=["as they are", "thresholded"])
def test_the_test_subjects_action_units_and_labels_do_not_influence_two_stages(clips, values):
    labels = clips.tensors.labels.clone()
    labels[4:8] = labels[4:8].flip(0)
    units = [*clips.tensors.units[:4], ("17",), ("12",), ("?",), ("4", "25"), *clips.tensors.units[8:]]
    one, other = (
        _train(clips, clips=tensors, **values)
        for tensors in (clips.tensors, clips.tensors._replace(labels=labels, units=units))
    )
    np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)
    assert _losses(one) == _losses(other)
    assert [row.test_au_f1 for row in one.history[:2]] != [row.test_au_f1 for row in other.history[:2]]


@pytest.mark.parametrize("values", [{}, ALL_AT_ONCE], ids=["plain", "all at once"])
def test_a_seed_gives_bitwise_the_same_two_stages(clips, values):
    first, again, other = (_train(clips, seed, **values) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.predictions.probabilities, again.predictions.probabilities)
    assert _losses(first) == _losses(again) != _losses(other)


def test_action_units_are_learnt(clips):
    """Without flips, which make the motion of 12 that of 4 and R10."""
    rows = _train(clips, units__epochs=25, units__lr=3e-3, train__epochs=1, train__flip=False).history[:25]
    assert rows[-1].train_loss < 0.5 * rows[0].train_loss
    assert rows[-1].train_au_f1 > 0.9


def test_settings_of_action_units_change_nothing_in_one_stage(loaded):
    first = {"units__epochs": 3, "units__lr": 0.1, "units__unfreeze_epoch": 9, "units__sides": "merge"}
    plain, other = _train(loaded), _train(loaded, **first)
    np.testing.assert_array_equal(plain.predictions.probabilities, other.predictions.probabilities)
    assert _losses(plain) == _losses(other)
    assert {row.stage for row in plain.history} == {2}
    assert plain.network.units is None


def test_clips_without_known_action_units_take_part_in_the_second_stage_alone(clips):
    """Mixed with others, too: what is blended of the unknown is unknown."""
    units = [("?",) if i % 3 else codes for i, codes in enumerate(clips.tensors.units)]
    for mixup in (0.0, 0.4):
        trained = _train(clips, clips=clips.tensors._replace(units=units), train__mixup=mixup)
        assert all(math.isfinite(row.train_loss) for row in trained.history)
        assert trained.predictions.probabilities.shape == (3, 4, 5)


def test_two_stages_need_known_action_units_in_training(clips):
    units = [
        codes if subject == TEST else ("?",) for codes, subject in zip(clips.tensors.units, clips.subjects, strict=True)
    ]
    with pytest.raises(Infeasible, match=r"beside sub02's there is none; set units\.use") as caught:
        _train(clips, clips=clips.tensors._replace(units=units))
    assert caught.value.constraint == "known action units"
    assert _train(clips, clips=clips.tensors._replace(units=units), units__use="none").network.units is None


HELD_OUT = {"train__inner": 1, "train__epochs": 4}


def _held_out(loaded, seed=0):
    """Indices of the clips that a fold with these settings holds out."""
    return leave_one_out(loaded.subjects, TEST, 1, fold_seed(seed, TEST)).inner


def test_subjects_held_out_do_not_influence_training_but_are_judged_after_every_epoch(loaded):
    out = _held_out(loaded)
    labels, flow = loaded.tensors.labels.clone(), loaded.tensors.flow.clone()
    labels[out], flow[out] = 0, flow[out].flip(-1)
    one, other = (
        _train(loaded, clips=clips, train__class_weights=1.0, **HELD_OUT)
        for clips in (loaded.tensors, loaded.tensors._replace(labels=labels, flow=flow))
    )
    np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)
    assert _losses(one) == _losses(other)
    assert (one.predictions.inner != other.predictions.inner).all()
    everybody = _train(loaded, train__epochs=4, train__class_weights=1.0)
    assert (one.predictions.probabilities != everybody.predictions.probabilities).any()
    assert everybody.predictions.inner is None


def test_the_held_out_subjects_mean_log_likelihood_is_stored(loaded):
    out = _held_out(loaded)
    trained = _train(loaded, **HELD_OUT)
    network = trained.network.eval()
    with torch.no_grad():
        maps, _ = network_input(loaded.run, loaded.tensors.flow[out].float(), None, 0)
        chances = network(maps).log_softmax(1)[range(6), loaded.tensors.labels[out]]
    assert trained.predictions.inner.shape == (4,)
    assert trained.predictions.inner[-1] == pytest.approx(float(chances.mean()), abs=1e-3)


def test_the_test_subjects_labels_do_not_influence_which_epoch_the_held_out_subjects_choose(loaded):
    labels = loaded.tensors.labels.clone()
    labels[6:12] = 0
    one, other = (
        _train(loaded, clips=loaded.tensors._replace(labels=ls), **HELD_OUT) for ls in (labels, loaded.tensors.labels)
    )
    np.testing.assert_array_equal(one.predictions.inner, other.predictions.inner)
    np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)


def test_both_stages_leave_the_held_out_subjects_out(tmp_path, tiny):
    write_casme2(tmp_path / "casme2")
    run = with_values(tiny, {"units.use": "as_they_are", "units.epochs": 2, "units.unfreeze_epoch": 1})
    loaded = load_data(tmp_path / "casme2", run, lambda *_: None)
    out = _held_out(loaded)
    changed = [("99",) if i in out else units for i, units in enumerate(loaded.tensors.units)]
    labels = loaded.tensors.labels.clone()
    labels[out] = 0
    one, other = (
        _train(loaded, clips=clips, train__inner=1)
        for clips in (loaded.tensors, loaded.tensors._replace(units=changed, labels=labels))
    )
    np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)
    assert _losses(one) == _losses(other)
    assert len(_losses(one)) == 2 + 3
    assert (one.predictions.inner != other.predictions.inner).any()
    everybody = _train(loaded, clips=loaded.tensors._replace(units=changed, labels=labels))
    assert _losses(everybody)[0] != _losses(one)[0]

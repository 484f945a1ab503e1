import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from one_fold import ALL_AT_ONCE, TEST, TWO_STAGES, losses, train
from small import TINY, write_flow_images

from mer_search.config import Run, Train, with_values
from mer_search.errors import Infeasible
from mer_search.evaluation.folds import EVERYBODY, fold_seed, leave_one_out
from mer_search.search.workspace import load_data, silent
from mer_search.training import learner, predict_proba
from mer_search.training.augment import mirror
from mer_search.training.loop import train_fold
from mer_search.training.predict_proba import network_input

SMALL = TINY | {
    "flow.size": 28, "frames.maps": 1, "input.channels": "z", "input.components": "uvo", "model.position": False,
    "model.blocks": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """24 easy flow images of four subjects and a small run."""
    root = tmp_path_factory.mktemp("flow")
    write_flow_images(root / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        return load_data(root / "data", with_values(Run(), SMALL), silent)


def test_a_fold_leaves_a_probability_for_every_epoch_clip_and_class(loaded):
    seen = []
    trained = train(loaded, 5, seen.append)
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
    trained = train(loaded, model__dropout=0.5)
    network = trained.network.eval()
    with torch.no_grad():
        maps = [network_input(loaded.run, flow.float(), None, 0)[0] for flow in loaded.tensors.flow[6:12].split(1)]
        alone = torch.cat([network(one).softmax(1) for one in maps])
    np.testing.assert_allclose(trained.predictions.probabilities[-1], alone, atol=1e-3)


@pytest.fixture(params=["one stage", "two stages"])
def either(request, loaded, tiny_clips):
    """Clips to train on in one stage, or in two."""
    return loaded if request.param == "one stage" else tiny_clips(TWO_STAGES)


@pytest.mark.parametrize("values", [{}, ALL_AT_ONCE], ids=["plain", "all at once"])
def test_a_seed_gives_bitwise_the_same_predictions_whatever_ran_before(either, values):
    first = train(either, 1, **values)
    other = train(either, 2, **values)
    torch.manual_seed(99)
    again = train(either, 1, **values)
    np.testing.assert_array_equal(first.predictions.probabilities, again.predictions.probabilities)
    assert losses(first) == losses(again)
    assert (first.predictions.probabilities != other.predictions.probabilities).any()


def test_a_shorter_run_is_the_beginning_of_a_longer_one(either):
    short, long = (train(either, train__epochs=epochs).predictions.probabilities for epochs in (2, 5))
    np.testing.assert_array_equal(short, long[:2])


@pytest.mark.parametrize(
    ("values", "kind", "pieces"),
    [
        ({}, torch.float32, 1),
        ({}, torch.float32, 2),  # which were needed before it stopped
        (ALL_AT_ONCE | {"train.val_subjects": 1, "train.mirror": True}, torch.float32, 1),
        ({"model.stem_width": 16, "model.attention_width": 16}, torch.bfloat16, 1),
    ],
    ids=["plain", "in pieces", "all at once", "bfloat16"],
)
def test_a_fold_that_stopped_goes_on_to_the_bit_as_if_it_had_not(loaded, tmp_path, monkeypatch, values, kind, pieces):
    monkeypatch.setattr(predict_proba, "precision", lambda run, device: kind)
    whole = train(loaded, train__epochs=5, microbatches=pieces, **values)
    kept, told = tmp_path / "kept.safetensors", []
    first = train(loaded, train__epochs=5, until=2, kept=kept, microbatches=pieces, **values)
    assert first.predictions.epochs == 2
    torch.manual_seed(99)
    train(loaded, train__epochs=5, until=4, kept=kept, **values)
    last = train(loaded, train__epochs=5, kept=kept, on_epoch=told.append, **values)
    assert [row.epoch for row in told] == [5]  # nothing is trained twice
    np.testing.assert_array_equal(whole.predictions.probabilities, last.predictions.probabilities)
    np.testing.assert_array_equal(whole.predictions.probabilities[:2], first.predictions.probabilities)
    if "train.val_subjects" in values:
        np.testing.assert_array_equal(whole.predictions.val_log_likelihood, last.predictions.val_log_likelihood)
    assert losses(whole) == losses(last)
    for one, other in zip(whole.network.state_dict().values(), last.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_a_batch_in_pieces_is_the_batch_but_for_its_statistics(loaded, monkeypatch):
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", lambda self, x: x * self.weight[:, None, None] / 2)
    whole, other = train(loaded), train(loaded, seed=1)
    for pieces in (2, 4):
        cut = train(loaded, microbatches=pieces)
        assert losses(cut) == pytest.approx(losses(whole), rel=1e-3)
        np.testing.assert_allclose(cut.predictions.probabilities, whole.predictions.probabilities, atol=1e-3)
        assert {row.microbatches for row in cut.history} == {pieces}
    assert np.abs(whole.predictions.probabilities - other.predictions.probabilities).max() > 0.01


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("cosine", lambda optimiser, steps: torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)),
        ("onecycle", lambda optimiser, steps: torch.optim.lr_scheduler.OneCycleLR(
            optimiser, 0.008, total_steps=steps, cycle_momentum=False
        )),
    ],
)  # fmt: skip
def test_schedules_are_torchs(name, of):
    """Step by step, over 4 epochs of 500 steps; torch reaches the end one step earlier."""
    config = with_values(Run(), {"train.schedule": name, "train.epochs": 4, "train.lr": 0.008}).train
    optimiser = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=0.008)
    scheduler = of(optimiser, 2000)
    for step in range(1999):
        found = learner.learning_rate(config, step / 500)
        assert found == pytest.approx(optimiser.param_groups[0]["lr"], abs=2e-5)
        optimiser.step()
        scheduler.step()


def test_a_schedule_moves_within_an_epoch(loaded, monkeypatch):
    rates = []
    monkeypatch.setattr(learner.Learner, "_set_rate", lambda self, rate: rates.append(rate))
    row = train(loaded, train__epochs=2, train__schedule="cosine", train__lr=0.01).history[1]
    assert len(rates) == len(set(rates)) == 2 * 3
    assert rates == sorted(rates, reverse=True)
    assert row.lr == rates[3]


def test_the_learning_rate_is_the_optimisers(loaded):
    after = {
        epochs: train(loaded, train__epochs=epochs, train__gamma=1e-9, train__plateau=1).network.head.weight
        for epochs in (1, 3)
    }
    torch.testing.assert_close(after[1], after[3])
    moved = train(loaded, train__epochs=3, train__gamma=1.0).network.head.weight
    assert (moved - after[1]).abs().max() > 1e-3


@pytest.mark.parametrize("what", ["diverging", "damaged flow"])
def test_a_loss_that_is_no_number_is_infeasible(loaded, what):
    values, clips = {"train__lr": 10.0, "train__weight_decay": 10.0, "train__epochs": 20}, loaded.tensors
    if what == "damaged flow":
        values, clips = {"input__channels": "r"}, clips._replace(flow=torch.full_like(clips.flow, math.nan))
    seen = []
    words = rf"are not in epoch \d+ of {TEST} \(loss .*\); try a smaller train\.lr"
    with pytest.raises(Infeasible, match=words) as caught:
        train(loaded, on_epoch=seen.append, clips=clips, **values)
    assert caught.value.constraint == "finite loss"
    assert all(math.isfinite(row.train_loss) for row in seen)


def test_it_learns_and_what_it_learns_holds_for_a_subject_never_seen(loaded):
    trained = train(loaded, train__epochs=15, train__lr=3e-3)
    assert trained.history[-1].train_accuracy > 0.8
    assert trained.history[-1].train_loss < 0.7 * trained.history[0].train_loss
    fold = trained.predictions
    assert (fold.probabilities[-1].argmax(-1) == fold.labels).mean() > 0.6


@pytest.mark.parametrize(("batch", "sizes"), [(8, [8, 8, 8]), (17, [17, 17]), (18, [18]), (100, [18])])
def test_all_batches_have_the_same_size(loaded, monkeypatch, batch, sizes):
    found = []
    real = learner.loss
    monkeypatch.setattr(learner, "loss", lambda *rest, **named: found.append(len(rest[0])) or real(*rest, **named))
    train(loaded, train__epochs=1, train__batch=batch)
    assert found == sizes


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 40), st.integers(2, 40))
def test_an_epoch_sees_every_clip_and_none_more_than_twice(clips, batch):
    indices = torch.arange(100, 100 + clips)
    batches = list(learner._batches(indices, Train(batch=batch), torch.Generator().manual_seed(0)))
    assert len({len(part) for part in batches}) == 1
    times = torch.bincount(torch.cat(batches) - 100, minlength=clips)
    assert (len(times), int(times.min())) == (clips, 1)
    assert int(times.max()) <= 2


@pytest.mark.parametrize("held_out", [0, 1])
def test_the_test_subjects_labels_influence_neither_training_nor_an_epoch_chosen_by_others(loaded, held_out):
    labels = loaded.tensors.labels.clone()
    labels[6:12] = 0
    values = {"train__class_weights": 1.0, "train__val_subjects": held_out}
    clips = (loaded.tensors, loaded.tensors._replace(labels=labels))
    one, other = (train(loaded, clips=each, **values) for each in clips)
    assert (one.predictions.labels != other.predictions.labels).any()
    np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)
    np.testing.assert_array_equal(one.predictions.val_log_likelihood, other.predictions.val_log_likelihood)
    assert one.history[-1].test_log_loss != other.history[-1].test_log_loss


def test_the_test_subjects_motion_does_not_influence_training(loaded):
    flow = loaded.tensors.flow.clone()
    flow[6:12] = flow[6:12].flip(-1)
    one, other = train(loaded), train(loaded, clips=loaded.tensors._replace(flow=flow))
    assert (one.predictions.probabilities != other.predictions.probabilities).any()
    assert losses(one) == losses(other)


def test_all_parts_at_once_train_on_clips_of_frames(tiny_clips):
    loaded = tiny_clips(ALL_AT_ONCE)
    clips = loaded.tensors._replace(labels=loaded.tensors.labels % 4)  # two classes become one: weights differ
    trained = train(loaded, clips=clips)
    assert trained.predictions.probabilities.shape == (3, 4, 5)
    np.testing.assert_allclose(trained.predictions.probabilities.sum(-1, dtype=np.float64), 1, atol=3e-3)
    others = {key: train(loaded, clips=clips, **{key: 0.0}) for key in ALL_AT_ONCE}
    others["onset image"] = train(loaded, clips=clips._replace(onset=clips.onset // 2))
    for part, other in others.items():
        assert losses(other) != pytest.approx(losses(trained), rel=1e-4), part


def test_a_fold_whose_loss_is_finite_but_not_its_predictions_is_infeasible(loaded, monkeypatch):
    monkeypatch.setattr(learner.Learner, "predict", lambda self, indices: np.full((len(indices), 5), np.nan))
    with pytest.raises(Infeasible, match="predictions must stay finite"):
        train(loaded)


def test_a_mirroring_run_judges_a_clip_and_its_mirror_image_alike(loaded):
    """Same training, so that only the prediction differs: the mean over both is the same for either of them."""
    clips = loaded.tensors
    mirrored = clips._replace(flow=mirror(clips.flow.float()).half())
    plain, both = train(loaded), train(loaded, train__mirror=True)
    torch.testing.assert_close(plain.network.head.weight, both.network.head.weight)
    assert not np.array_equal(plain.predictions.probabilities, both.predictions.probabilities)
    state = learner.Learner(
        with_values(loaded.run, {"train.mirror": True}), clips, leave_one_out(loaded.folds, loaded.subjects, TEST), 0
    )
    one = state.predict(state.test)
    state.clips = mirrored
    np.testing.assert_allclose(state.predict(state.test), one, atol=1e-3)


def test_settings_of_action_units_change_nothing_in_one_stage(loaded):
    first = {"units__epochs": 3, "units__lr": 0.1, "units__unfreeze_epoch": 9, "units__sides": "merge"}
    plain, other = train(loaded), train(loaded, **first)
    np.testing.assert_array_equal(plain.predictions.probabilities, other.predictions.probabilities)
    assert losses(plain) == losses(other)
    assert {row.stage for row in plain.history} == {2}
    assert plain.network.units is None


HELD_OUT = {"train__val_subjects": 1, "train__epochs": 4}


def _held_out(loaded, seed=0):
    """Indices of the clips that a fold with these settings holds out."""
    return leave_one_out(loaded.folds, loaded.subjects, TEST, 1, fold_seed(seed, TEST)).val


def test_subjects_held_out_do_not_influence_training_but_are_judged_after_every_epoch(either):
    out = _held_out(either)
    labels, flow = either.tensors.labels.clone(), either.tensors.flow.clone()
    labels[out], flow[out] = 0, flow[out].flip(-1)
    units = [("99",) if clip in out else units for clip, units in enumerate(either.tensors.units)]
    other_clips = either.tensors._replace(labels=labels, flow=flow, units=units)
    one, other = (
        train(either, clips=clips, train__class_weights=1.0, **HELD_OUT) for clips in (either.tensors, other_clips)
    )
    np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)
    assert losses(one) == losses(other)
    assert (one.predictions.val_log_likelihood != other.predictions.val_log_likelihood).all()
    everybody = train(either, clips=other_clips, train__epochs=4, train__class_weights=1.0)
    assert (one.predictions.probabilities != everybody.predictions.probabilities).any()
    assert losses(everybody)[0] != losses(one)[0]
    assert everybody.predictions.val_log_likelihood is None


def test_on_everybody_all_clips_train_and_none_is_predicted(tiny_clips):
    """Also in two stages, and where a fold of one person holds others out."""
    all_of = tiny_clips(TWO_STAGES | {"train.val_subjects": 1, "train.seeding": "stream"})
    trained = train_fold(all_of.run, all_of.tensors, EVERYBODY, 0)
    fold = trained.predictions
    assert (fold.subject, fold.clips, fold.probabilities.shape) == (EVERYBODY, (), (3, 0, 5))
    assert fold.val_log_likelihood is None and fold.by_subject() == []
    tested = [(row.test_log_loss, row.test_f1, row.test_accuracy, row.test_au_f1) for row in trained.history]
    assert len(tested) == 5 and np.isnan(tested).all()
    for clip in (0, -1):
        labels = all_of.tensors.labels.clone()
        labels[clip] = (labels[clip] + 1) % 4
        other = train_fold(all_of.run, all_of.tensors._replace(labels=labels), EVERYBODY, 0)
        assert losses(other) != losses(trained)


def test_a_subject_called_everybody_is_left_out_as_any_other(loaded):
    clips = loaded.tensors
    named = [EVERYBODY if name == TEST else name for name in clips.folds]
    renamed = clips._replace(folds=named, subjects=named)
    fold = train_fold(loaded.run, renamed, EVERYBODY, 0).predictions
    assert fold.clips == tuple(name for name in clips.names if name.startswith(TEST))


def test_the_held_out_subjects_mean_log_likelihood_is_stored(loaded):
    out = _held_out(loaded)
    trained = train(loaded, **HELD_OUT)
    network = trained.network.eval()
    with torch.no_grad():
        maps, _ = network_input(loaded.run, loaded.tensors.flow[out].float(), None, 0)
        chances = network(maps).log_softmax(1)[range(6), loaded.tensors.labels[out]]
    assert trained.predictions.val_log_likelihood.shape == (4,)
    assert trained.predictions.val_log_likelihood[-1] == pytest.approx(float(chances.mean()), abs=1e-3)


def test_bfloat16_is_used_where_there_are_units_for_it_and_a_step_is_not_too_small(loaded, monkeypatch):
    large = with_values(Run(), {"train.batch": 4})
    for units, run, kind in (
        (True, large, torch.bfloat16),
        (True, loaded.run, torch.float32),
        (False, large, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda units=units: units)
        assert predict_proba.precision(run, "cpu") is kind
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, units=units: units)
        assert predict_proba.precision(run, "cuda") is kind
        assert predict_proba.mixed_precision(run, torch.device("cpu"))._enabled == (kind is torch.bfloat16)

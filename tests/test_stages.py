"""Training in two stages: action units first, then emotions."""

import math

import numpy as np
import pytest
import torch
from one_fold import TEST, TWO_STAGES, losses, train

from mer_search.errors import Infeasible
from mer_search.training import learner


@pytest.fixture(scope="module")
def clips(tiny_clips):
    """Clips with action units: 12, or 4 and R10. The 4 from number 4 on are TEST's."""
    return tiny_clips(TWO_STAGES)


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
    trained = train(clips, on_epoch=seen.append)
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


@pytest.mark.parametrize("until", [1, 3], ids=["frozen", "unfrozen"])
def test_a_second_stage_that_stopped_goes_on_to_the_bit_as_if_it_had_not(clips, tmp_path, until):
    whole, kept = train(clips, train__epochs=4), tmp_path / "kept.safetensors"
    train(clips, train__epochs=4, until=until, kept=kept)
    last = train(clips, train__epochs=4, kept=kept)
    np.testing.assert_array_equal(whole.predictions.probabilities, last.predictions.probabilities)
    assert [(row.stage, row.epoch) for row in last.history] == [(row.stage, row.epoch) for row in whole.history]


@pytest.mark.parametrize("use", ["as_they_are", "thresholded"])
def test_until_they_are_unfrozen_all_but_the_last_layer_stay_as_they_were(clips, use):
    frozen = {epochs: _weights(train(clips, units__use=use, train__epochs=epochs)) for epochs in (1, 2)}
    assert _alike(frozen[1][1], frozen[2][1]) == set(frozen[1][1])
    assert any(name.endswith("running_mean") for name in frozen[1][1])
    assert not _alike(frozen[1][0], frozen[2][0])
    head, rest = _weights(train(clips, units__use=use))
    assert not _alike(head, frozen[2][0])
    still = {"units.weight", "units.bias"} if use == "thresholded" else set()  # no gradient, and so no decay
    assert _alike(rest, frozen[2][1]) == still


def test_from_the_first_epoch_everything_may_be_trained(clips):
    assert not _alike(*(_weights(train(clips, units__unfreeze_epoch=0, train__epochs=epochs))[1] for epochs in (1, 2)))


def test_each_stage_has_a_schedule_of_its_own(clips):
    first = {"units__epochs": 3, "units__lr": 0.004, "units__gamma": 0.5, "units__plateau": 1}
    second = {"train__epochs": 4, "train__lr": 0.001, "train__gamma": 0.1, "train__plateau": 2}
    rates = [row.lr for row in train(clips, **first, **second).history]
    assert rates == pytest.approx([0.004, 0.002, 0.002, 1e-3, 1e-4, 1e-5, 1e-5])


def test_a_stages_learning_rate_is_its_optimisers(clips):
    """A rate too small to move anything, in either stage."""
    still = {"train__lr": 1e-12, "units__unfreeze_epoch": 0}
    one, two = (_weights(train(clips, train__epochs=epochs, **still)) for epochs in (1, 2))
    torch.testing.assert_close(one[0], two[0], atol=1e-9, rtol=0)
    units = {
        epochs: train(clips, units__epochs=epochs, units__lr=1e-12, train__epochs=1).network.units.weight
        for epochs in (1, 2)
    }
    torch.testing.assert_close(units[1], units[2], atol=1e-9, rtol=0)
    moved = train(clips, units__epochs=2, train__epochs=1).network.units.weight
    assert (moved - units[1]).abs().max() > 1e-4


def test_the_second_stage_starts_from_the_best_epoch_by_training_f1(clips, monkeypatch):
    """Later epochs with a lower, or an equal, or no F1 change nothing."""
    outcomes = {}
    for f1s in ([0.1, 0.9], [0.1, 0.9, 0.9, 0.2, math.nan], [0.1, 0.2, 0.95]):
        told = iter(f1s)
        real = learner.Learner.train_units
        with monkeypatch.context() as patch:
            patch.setattr(learner.Learner, "train_units", lambda self, epoch: (real(self, epoch)[0], next(told)))  # noqa: B023
            trained = train(clips, units__epochs=len(f1s), train__epochs=1, units__unfreeze_epoch=9)
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
        train(clips, clips=tensors, **values)
        for tensors in (clips.tensors, clips.tensors._replace(labels=labels, units=units))
    )
    np.testing.assert_array_equal(one.predictions.probabilities, other.predictions.probabilities)
    assert losses(one) == losses(other)
    assert [row.test_au_f1 for row in one.history[:2]] != [row.test_au_f1 for row in other.history[:2]]


def test_action_units_are_learnt(clips):
    """Without flips, which make the motion of 12 that of 4 and R10."""
    rows = train(clips, units__epochs=25, units__lr=3e-3, train__epochs=1, train__flip=False).history[:25]
    assert rows[-1].train_loss < 0.5 * rows[0].train_loss
    assert rows[-1].train_au_f1 > 0.9


def test_clips_without_known_action_units_take_part_in_the_second_stage_alone(clips):
    """Mixed with others, too: what is blended of the unknown is unknown."""
    units = [("?",) if i % 3 else codes for i, codes in enumerate(clips.tensors.units)]
    for mixup in (0.0, 0.4):
        trained = train(clips, clips=clips.tensors._replace(units=units), train__mixup=mixup)
        assert all(math.isfinite(row.train_loss) for row in trained.history)
        assert trained.predictions.probabilities.shape == (3, 4, 5)


def test_two_stages_need_known_action_units_in_training(clips):
    units = [
        codes if subject == TEST else ("?",) for codes, subject in zip(clips.tensors.units, clips.subjects, strict=True)
    ]
    with pytest.raises(Infeasible, match=r"beside sub02's there is none; set units\.use") as caught:
        train(clips, clips=clips.tensors._replace(units=units))
    assert caught.value.constraint == "known action units"
    assert train(clips, clips=clips.tensors._replace(units=units), units__use="none").network.units is None

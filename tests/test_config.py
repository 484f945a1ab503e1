import pytest

from mer_search.config import Flow, Frames, Prep, Run, digest, with_values
from mer_search.errors import UsageError


def test_a_run_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        Run().train.lr = 1.0


def test_with_values_replaces_only_what_is_given():
    run = with_values(Run(), {"train.lr": 0.5, "input.channels": "s"})
    assert (run.train.lr, run.input.channels, run.train.batch) == (0.5, "s", Run().train.batch)
    assert Run().train.lr != 0.5


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("train.lr", -1, "train.lr.*greater than 0.*got -1"),
        ("model.attention_width", 0, "attention_width.*greater than or equal to 1"),
        ("model.attention_width", "wide", "attention_width"),
        ("input.channels", "nx", "distinct letters out of 'nrsz'"),
        ("input.channels", "nn", "distinct letters"),
        ("flow.size", 100, "multiple of 16, or 28"),
        ("train.loss", "mse", "train.loss"),
        ("flow.dis_stride", 8, "flow: dis_stride must be less than dis_patch, .* but they are 8 and 8"),
    ],
)
def test_a_bad_value_says_where_and_what(key, value, words):
    with pytest.raises(UsageError, match=words):
        with_values(Run(), {key: value})


def test_the_position_branch_needs_four_heads():
    with pytest.raises(UsageError, match="4 heads"):
        with_values(Run(), {"model.attention_width": 6, "model.blocks": 2})
    with_values(Run(), {"model.attention_width": 6, "model.blocks": 2, "model.position": False})


@pytest.mark.parametrize(("size", "patch", "finest"), [(224, 8, 4), (224, 32, 2), (64, 8, 2), (16, 8, 1), (32, 32, 0)])
def test_dense_inverse_search_needs_frames_for_its_patches_at_the_finest_scale(size, patch, finest):
    values = {"prep.size": size, "flow.dis_patch": patch, "flow.dis_finest_scale": finest}
    with_values(Run(), values)  # another method does not look at them
    with pytest.raises(UsageError, match=r"flow.dis_finest_scale must be at most .* lower it or flow"):
        with_values(Run(), values | {"flow.method": "dis"})
    with_values(Run(), values | {"flow.method": "dis", "flow.dis_finest_scale": max(finest - 1, 0), "prep.size": 224})


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.learning_rate", "train.lr"), ("learning_rate", "train.lr"), ("train.batch_size", "train.batch"),
        ("train.lrr", "train.lr"), ("lr", "train.lr"), ("epochs", "train.epochs"), ("model.dropot", "model.dropout"),
    ],
)  # fmt: skip
def test_the_key_that_is_meant_is_named(key, meant):
    with pytest.raises(UsageError, match=f"'{key}' is none; did you mean '{meant}'"):
        with_values(Run(), {key: 1})


def test_digest_tells_values_apart_and_never_changes():
    assert digest(Run()) != digest(with_values(Run(), {"train.lr": 0.1}))
    assert digest(Frames(), Prep(), Flow()) == digest(Frames(), Prep(), Flow()) == "82e81eff8fdb5188"
    assert digest(with_values(Run(), {"train.lr": 0.1}).train) == "8ddb6555a738f1bf"
    assert digest(with_values(Run(), {"train.lr": Run().train.lr})) == digest(Run())

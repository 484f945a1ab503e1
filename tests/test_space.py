from contextlib import nullcontext

import pytest

from mer_search.errors import UsageError
from mer_search.files import shipped, toml_names
from mer_search.presets import PRESETS
from mer_search.search import space

SMALL = """
base = "V4"
[set]
"model.position" = false
[space]
"train.loss" = { choice = ["ce", "focal"] }
"train.focal_gamma" = { float = [0.5, 4.0] }
"train.lr" = { float = [1e-4, 1e-2], log = true }
[when]
"train.focal_gamma" = { "train.loss" = "focal" }
"""
TIED = SMALL.replace(
    "[when]",
    '"model.stem_width" = { choice = [64, 128] }\n"model.attention_width" = "model.stem_width"\n[when]',
)


class Fixed:
    """A trial that takes the first choice, or the one that it is told, and the low end of an interval."""

    def __init__(self, **told):
        self.told, self.asked = told, []

    def suggest_categorical(self, name, choices):
        self.asked.append(name)
        return self.told.get(name.split(".")[1], choices[0])

    def suggest_float(self, name, low, high, *, log=False):
        self.asked.append(name)
        return low

    suggest_int = suggest_float


@pytest.mark.parametrize("name", toml_names(shipped()))
def test_every_study_that_comes_with_the_package_is_valid(name):
    study = space.load(name)
    assert study.axes
    assert study.preset in PRESETS


GAMMA = '"train.focal_gamma" = { float = [0.1, 0.9] }\n'
DEPTH = '"model.position_depth" = { choice = [1, 2] }\n'


@pytest.mark.parametrize(
    ("settings", "axes", "refused"),
    [
        ("", GAMMA, "train.focal_gamma has an effect only where train.loss is focal or softmax_focal, but that is ce"),
        ('"train.loss" = "focal"\n', GAMMA, ""),
        ("", GAMMA + '"train.loss" = { choice = ["ce", "focal"] }\n', ""),
        ("", GAMMA + '"model.dropout" = "train.focal_gamma"\n', ""),  # which has one
        ('"model.position" = false\n', DEPTH, "only where model.position is True, but that is False"),
        ('"model.position" = false\n', DEPTH + '"train.flip" = { choice = [true, false] }\n'
         '"model.position" = "train.flip"\n', ""),
    ],
)  # fmt: skip
def test_an_axis_without_an_effect_is_refused_in_a_study_that_is_to_be_made(settings, axes, refused):
    file = space.parse(f'base = "V4"\n[set]\n{settings}[space]\n{axes}', "x")  # as an earlier version kept it
    with pytest.raises(UsageError, match=refused) if refused else nullcontext():
        file.check_effect()


def test_values_of_set_without_an_effect_are_known():
    study = space.parse(f'base = "V4"\n[set]\n"train.schedule" = "cosine"\n[space]\n{GAMMA}', "x")
    assert study.without_effect(["train.plateau", "train.gamma", "train.schedule"]) == [
        f"{key} has an effect only where train.schedule is exponential, but that is cosine here; leave it out, or vary "
        "or set train.schedule"
        for key in ("train.gamma", "train.plateau")
    ]
    for name in toml_names(shipped()):
        study = space.load(name)
        assert study.without_effect(study.settings) == []


def test_the_default_study_varies_what_the_specification_asks_for():
    study = space.load("default")
    choices = {axis.key: axis.values for axis in study.axes}
    assert set(choices["input.channels"]) == {"n", "r", "s", "nr", "rs", "ns", "nrs"}
    assert choices["model.stem_width"] == choices["model.attention_width"] == (128, 256, 512)
    assert {"train.lr", "train.gamma", "train.plateau", "train.loss", "train.focal_gamma"} <= set(choices)
    assert (study.trials, study.subjects, study.rule) == (100, "hardest", "tail")


def test_subjects_may_be_a_list():
    assert space.parse('subjects = ["sub01", 7]\n' + SMALL, "x").subjects == "sub01, 7"


def test_the_published_networks_come_first():
    first = space.load("default").start[0]
    assert (first["input.channels"], first["model.stem_width"], first["train.lr"]) == ("nr", 256, 8e-4)
    assert "train.focal_gamma" not in first


def test_an_axis_may_be_tied_to_another():
    study = space.parse(TIED + '[[start]]\n"model.stem_width" = 64\n', "small")
    trial = Fixed(stem_width=128)
    assert study.suggest(trial)["model.attention_width"] == 128
    assert "model.attention_width" not in trial.asked
    assert (study.first.model.stem_width, study.first.model.attention_width) == (64, 64)
    assert study.digest != space.parse(TIED.replace('= "model.stem_width"', "= { choice = [64, 128] }"), "small").digest
    assert study.tied({"train.lr": 1e-3}) == {"train.lr": 1e-3}


def test_a_conditional_axis_is_sampled_only_where_its_condition_holds():
    study = space.parse(SMALL, "small")
    assert set(study.suggest(Fixed(loss="focal"))) == {"train.loss", "train.focal_gamma", "train.lr"}
    trial = Fixed(loss="ce")
    assert set(study.suggest(trial)) == {"train.loss", "train.lr"} == set(trial.asked)


def test_what_differs_between_two_study_files_is_named():
    assert space.changed(SMALL, "trials = 7\n" + SMALL) == ""
    said = space.changed(SMALL, "rule = 'last'\n" + SMALL.replace("4.0", "5.0"))
    assert "rule is absent there, last here" in said
    assert "[space] train.focal_gamma is {'float': [0.5, 4.0]} there, {'float': [0.5, 5.0]} here" in said


def test_the_digest_changes_with_the_space_and_not_with_the_number_of_trials():
    first = space.parse(SMALL, "small").digest
    assert space.parse("trials = 7\n" + SMALL, "renamed").digest == first
    assert space.parse(SMALL.replace("4.0", "5.0"), "small").digest != first
    assert space.parse(SMALL.replace("false", "true"), "small").digest != first


def _with_inner(axis):
    return 'rule = "val_epoch"\n' + SMALL.replace("[when]", f'"train.val_subjects" = {{ {axis} }}\n[when]')


def test_the_inner_rule_is_taken_where_every_trial_holds_subjects_out():
    fixed = 'rule = "val_epoch"\n' + SMALL.replace("[set]", '[set]\n"train.val_subjects" = 2')
    for text in (fixed, _with_inner("int = [1, 4]")):
        assert space.parse(text, "small").rule == "val_epoch"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[space", "not valid TOML"),
        ('base = "V9"\n' + SMALL.replace('base = "V4"', ""), "a preset must be one of .*'V9'"),
        ("trails = 3\n" + SMALL, "did you mean 'trials'"),
        ("trials = 'many'\n" + SMALL, "trials: .* valid integer, but got 'many'"),
        (SMALL.replace("train.lr", "train.lrr"), "did you mean 'train.lr'"),
        (
            SMALL.replace("[set]", "[set]\nflow.size = 32"),
            "'flow' is none; it is a part; its fields are paths such as \"flow.method\"",
        ),
        (SMALL.replace("1e-4", "-1.0"), "low < high"),
        (SMALL.replace("1e-2], log = true", "99.0]"), "train.lr: .*less than or equal to 10, but got 99"),
        (SMALL.replace("choice", "choose"), "an axis must be"),
        (SMALL.replace('"ce", "focal"', '["ce"], 3'), "choice = .* of two plain values or more"),
        (SMALL.replace('"ce", "focal"', '"ce"'), r"two plain .* \{'choice': \['ce'\]\}; one value goes under \[set\]"),
        (SMALL.replace('"ce", "focal"', '"ce", "ce"'), "of two plain values or more"),
        (SMALL.replace("0.5, 4.0", "0.5, 0.5"), "with low < high"),
        (SMALL + '[[start]]\n"train.lr" = 0.5\n', "train.lr must lie on its axis"),
        (
            '[space]\n"train.epochs" = { int = [1, 3] }\n[[start]]\n"train.epochs" = 2.5\n',
            "epochs must lie on its axis",
        ),
        (SMALL + '[start]\n"train.lr" = 0.001\n', r"must be \[\[start\]\], in two brackets"),
        (SMALL + '[[start]]\n"train.epochs" = 5\n', "'train.epochs' is none"),
        (SMALL.replace('= "focal"', "= 3").replace('"train.loss" = 3', '"train.plateau" = 3'), "unconditional axes"),
        (SMALL.replace('= "focal" }', '= "focl" }'), "train.loss must lie on its axis .*'focl'"),
        ('sampler = "genius"\n' + SMALL, "sampler: .*'tpe', 'gp', 'random', 'qmc' or 'nsga2', but got 'genius'"),
        ('rule = "best"\n' + SMALL, "rule: .*'tail', 'last', 'val_epoch' or 'best_test_epoch', but got 'best'"),
        (
            'rule = "val_epoch"\n' + SMALL,
            r'train\.val_subjects must be 1 or more, but can be 0; put "train\.val_subjects" = 3 under',
        ),
        (_with_inner("choice = [0, 2]"), "can be 0"),
        ("[set]\n", "at least one axis"),
        (SMALL.replace("[set]", '[set]\n"data.classes" = "a"'), "data.classes is what the data's folder says"),
        (SMALL + '"data.dataset" = { choice = ["samm"] }\n', "unconditional axes"),
        (
            TIED.replace('= "model.stem_width"', '= "model.stem_widths"'),
            "tied to an axis .* such as model.stem_width, but",
        ),
        (TIED.replace('"model.attention_width" =', '"model.attention" ='), "model.attention: .* but got 64"),
    ],
)
def test_a_wrong_study_fails_before_anything_is_trained(text, words):
    with pytest.raises(UsageError, match=f"study small: .*{words}"):
        space.parse(text, "small")


def test_a_range_over_a_few_values_is_refused():
    with pytest.raises(UsageError, match=r"model\.stem_kernel takes one of 3, 5: its axis must be a choice"):
        space.parse('base = "V4"\n[space]\n"model.stem_kernel" = { int = [3, 5] }\n', "mine")

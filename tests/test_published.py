"""The recipe "published", how a network is trained: worked out here by other means, and that no preset drifts.

Sources: script.py of TM-MMNET's V3 and V6, CASME2_5.py of MMNet. What goes into it is in test_published_input.py.
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from one_fold import TWO_STAGES, train
from sklearn.metrics import f1_score

from mer_search.config import Train, digest, value_at, with_values
from mer_search.errors import Infeasible
from mer_search.evaluation.folds import stream_seed
from mer_search.evaluation.metrics import best_epoch, f1_by_epoch, units_f1
from mer_search.evaluation.predictions import Predictions
from mer_search.model.network import Network
from mer_search.presets import ALIASES, PRESETS, preset, published_values
from mer_search.search.space import parse
from mer_search.training import learner
from mer_search.training.learner import learning_rate

DIGESTS = {
    "MMNet": "f4e76960da7ad5d7", "MMNet-3": "6257e1d4afe453a2", "V1": "f9471e8ea4f173e0", "V2": "7790ad5b97bf1f87",
    "V3N": "dc2be7a5fa2193f2", "V3R": "686885f33b3f05ae", "V3S": "a3f56a768e452400", "V3NR": "4aca2e0b99a7fec2",
    "V3RS": "c89a0fd22eea72ab", "V3NS": "680f4186d473c6a8", "V3NRS": "e874dbb62f99cc20", "V4": "bba618b0a710a2e7",
    "V5N": "8a2451a75ec03e0b", "V5R": "e7c454b0fce187bc", "V5S": "54b9993e8af19816", "V5NR": "b785cf9ad9c8bb74",
    "V5RS": "5766e012e16bad65", "V5NS": "1e4dbec0b81282a6", "V5NRS": "a802b9080bf863ee", "V5d": "cacc0686d0ba2117",
    "V6": "0e973bcba438be33", "V6c": "dd7646ad8c7447b0", "V6d": "7be832c18a50a260", "ablation-A": "b780e55f878b6c9d",
    "ablation-B": "c530709e771bf75a",
}  # fmt: skip


def test_no_preset_as_published_drifts():
    assert {name: digest(preset(name, "published")) for name in PRESETS} == DIGESTS


def test_a_recipe_sets_nothing_that_the_preset_has_already():
    for name in PRESETS:
        same = {key for key, value in published_values(name).items() if value_at(preset(name), key) == value}
        assert same <= {"train.plateau"}  # V6's code decays 50 times, as the specification says


@pytest.mark.parametrize(
    ("name", "parts", "ratios"),  # ours / published, as measured on the public code
    [
        (
            "V3NR",
            ("external.0.0", "external.2.0", "position.embed", "position.blocks.0.mlp.2"),
            (0.44, 1.73, 0.13, 0.45),
        ),
        ("MMNet", ("external.0.0", "position.embed", "internal.0.0", "blocks.3.body.0.0"), (0.32, 0.18, 1, 1)),
    ],
)
def test_weights_begin_as_spread_as_in_the_public_code(name, parts, ratios):
    """By the sd of both initialisations; names are ours."""
    run, found = with_values(preset(name), {"model.stem_mid": 128} if name == "V3NR" else {}), []
    for init in ("published", "kaiming"):
        weights = Network(with_values(run, {"model.init": init})).state_dict()
        found.append([float(weights[f"{part}.weight"].std()) for part in parts])
    published, own = found
    np.testing.assert_allclose(np.divide(own, published), ratios, rtol=0.05)


def test_the_last_batch_is_what_is_left():
    indices, random = torch.arange(237), torch.Generator().manual_seed(0)
    batches = learner._batches(indices, Train(last_batch="smaller"), random)
    assert [len(batch) for batch in batches] == [36] * 6 + [21]
    assert sorted(torch.cat(list(batches)).tolist()) == list(range(237))


def test_a_last_batch_of_one_clip_is_refused_where_the_last_map_is_one_place(tiny_clips):
    loaded = tiny_clips({"flow.size": 16, "model.blocks": 4, "train.last_batch": "smaller"})  # of 16 clips 12 train
    with pytest.raises(Infeasible, match=r"but of 12 a batch has one; set train.batch to another number than 11"):
        train(loaded, train__batch=11)
    assert np.isfinite(train(loaded, train__batch=5).predictions.probabilities).all()


@pytest.mark.parametrize(("name", "decays"), [("V3NR", 51), ("MMNet", 50), ("V6", 50)])
def test_the_learning_rate_stops_as_late_as_in_the_public_code(name, decays):
    assert learning_rate(preset(name, "published").train, 68) == pytest.approx(8e-4 * 0.987**decays)


def fold_of(*correct):
    """A fold of four clips; each epoch's guesses right or wrong."""
    labels = np.array([0, 0, 1, 1])
    probs = np.zeros((len(correct), 4, 2), np.float16)
    for epoch, right in enumerate(correct):
        guesses = np.where(np.array(list(right)) == "1", labels, 1 - labels)
        probs[epoch, np.arange(4), guesses] = 1
    return Predictions(0, "s", tuple("abcd"), labels, probs)


def test_ties_go_to_the_latest_epoch_in_mmnet_v1_and_v2_alone():
    fold = fold_of("0011", "1101", "1110", "0000")
    assert best_epoch(*f1_by_epoch(fold)) == 1
    assert best_epoch(*f1_by_epoch(fold), latest=True) == 2
    assert {name for name, item in PRESETS.items() if item.ties == "latest"} == {"MMNet", "MMNet-3", "V1", "V2"}


def test_seeds_of_folds_are_one_stream_from_the_runs_seed_on():
    seeds = [stream_seed(0, place) for place in range(26)]
    assert seeds[0] == 0 and len(set(seeds)) == 26
    assert seeds[1:] == np.random.default_rng(0).integers(2**48, size=25).tolist()


@pytest.fixture(scope="module")
def stages(tiny_clips):
    return tiny_clips(TWO_STAGES)


def test_v6_never_unfreezes_a_weight_but_lets_the_statistics_go_on(stages, monkeypatch):
    """In its first epoch, before it is set to evaluation for the first time, and from unfreeze_epoch on."""
    states = []
    real = learner.Learner.train_emotions

    def told(self, epoch):
        result = real(self, epoch)
        states.append({name: item.clone() for name, item in self.network.state_dict().items()})
        return result

    monkeypatch.setattr(learner.Learner, "train_emotions", told)
    train(stages, units__unfreeze="statistics", train__epochs=4)  # unfreeze_epoch is 2
    rest = [{name: item for name, item in state.items() if not name.startswith("head.")} for state in states]
    moved = [
        {
            "statistics" if "running" in name or "tracked" in name else "weights"
            for name, item in after.items()
            if not torch.equal(item, before[name])
        }
        for before, after in pairwise(rest)
    ]
    assert moved == [set(), {"statistics"}, {"statistics"}]


def test_v6_picks_the_first_stages_epoch_on_the_test_person_and_says_that_it_leaks(stages):
    values = {"units__epochs": 5, "units__lr": 0.02, "units__f1_over": "all", "train__epochs": 1}
    trained = train(stages, units__chosen_by="test", **values)
    truth, said = trained.predictions.unit_truth, trained.predictions.unit_probabilities > 0.5
    rows = [row for row in trained.history if row.stage == 1]
    assert units_f1(truth, said, "all") == pytest.approx(max(row.test_au_f1 for row in rows))
    run = with_values(stages.run, {"units.chosen_by": "test"})
    assert run.leaks and not stages.run.leaks
    assert trained.predictions.unit_names == ("12", "4", "R10")


def test_the_f1_over_all_action_units_counts_absent_ones_as_sklearn_does():
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 2, (6, 5)).astype(float), rng.integers(0, 2, (6, 5)).astype(bool)
    truth[:, 3] = said[:, 3] = 0
    assert units_f1(truth, said, "all") == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))
    assert units_f1(truth, said) == pytest.approx(units_f1(truth, said, "all") * 5 / 4)


def test_a_fold_that_stops_when_perfect_has_the_published_figure_of_one_that_does_not(tiny_clips, monkeypatch):
    loaded = tiny_clips({"train.epochs": 6})

    def trained(**values):
        epoch = iter(range(6))
        told = lambda self, indices: np.eye(5, dtype=np.float16)[self.clips.labels[indices] * (next(epoch) in (3, 5))]  # noqa: E731
        monkeypatch.setattr(learner.Learner, "predict", told)
        return train(loaded, **values)

    whole, stopped = trained(), trained(train__stop_when_perfect=True)
    assert (len(whole.history), len(stopped.history)) == (6, 4)
    assert [best_epoch(*f1_by_epoch(fold.predictions)) for fold in (whole, stopped)] == [3, 3]
    assert stopped.predictions.probabilities.shape == whole.predictions.probabilities.shape
    np.testing.assert_array_equal(stopped.predictions.probabilities[4:], stopped.predictions.probabilities[[3, 3]])
    assert with_values(loaded.run, {"train.stop_when_perfect": True}).leaks


def test_a_study_can_be_as_published():
    axes = '[space]\n"train.lr" = { float = [1e-4, 1e-2] }\n'
    file, own = (parse(f'base = "V3NR"\n{recipe}{axes}', "s") for recipe in ('recipe = "published"\n', ""))
    assert file.base == preset("V3NR", "published")
    assert own.base == preset("V3NR")
    assert file.digest != own.digest


def test_the_specifications_names_of_v5_are_known():
    assert {name: preset(name) == preset(known) for name, known in ALIASES.items()} == {"V5": True, "V5b": True}

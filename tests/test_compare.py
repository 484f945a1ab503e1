"""Networks against each other: the same seeds and folds, a conclusion that is not shy to say no, and plans."""

import numpy as np
import pytest
from small import STUDY, silent, write_casme2, write_flow_images

from mer_search.config import with_values
from mer_search.confirmation import compare as comparing
from mer_search.confirmation import scoring
from mer_search.confirmation.compare import Contestant, comparison
from mer_search.confirmation.confirm import Confirmation, confirm_all, prepare, train
from mer_search.confirmation.plans import Step, follow, load_plan
from mer_search.confirmation.target import Target
from mer_search.engine.task import Task
from mer_search.engine.where import Where
from mer_search.errors import UsageError
from mer_search.evaluation.metrics import tail, uf1
from mer_search.evaluation.predictions import Predictions
from mer_search.search import space
from mer_search.search.workspace import load_data
from mer_search.training.fold_store import load_folds

LEARNS = {"train.epochs": 8, "train.lr": 5e-3}
DOES_NOT = {"train.epochs": 1, "train.lr": 1e-6}


@pytest.fixture
def trained(everywhere, monkeypatch):
    """The folds that are trained where networks meet: (seed, subject) of each."""
    folds, submit = [], everywhere.submit

    def watched(task):
        folds.extend([(task.seed, task.subject)] if isinstance(task, Task) else [])
        submit(task)

    monkeypatch.setattr(everywhere, "submit", watched)
    return folds


@pytest.fixture
def target(tmp_path):
    """A function (title, values) -> a small network for flow images, with those values."""
    base = space.parse(STUDY, "small").base
    return lambda title, values: Target(with_values(base, values), title, tmp_path / "runs" / title)


@pytest.fixture
def eight(tmp_path):
    """Flow images of eight subjects: four could not show any difference."""
    write_flow_images(tmp_path / "eight", 8)
    return tmp_path / "eight"


def _meet(targets, path, seeds=(1000, 1001), subjects="all"):
    jobs = prepare(targets, path, subjects, seeds, silent)
    return comparing.compare(jobs, confirm_all(jobs, Where(), silent, lambda *_: None))


def test_a_network_and_itself_do_not_differ_and_are_trained_once(trained, target, flow_folder):
    one = target("one", {})
    found = _meet([one, one], flow_folder)
    (pair,) = found.pairs
    assert pair.conclusion == "no difference: one and one have the same confusion matrix for every subject and seed"
    assert (pair.difference, pair.ci95, pair.p) == (0, None, 1)
    assert found.winner == "one"
    assert sorted(trained) == [(seed, f"sub0{k}") for seed in (1000, 1001) for k in (1, 2, 3, 4)]


def test_networks_that_meet_again_are_not_trained_again(trained, target, flow_folder):
    networks = [target("one", {}), target("two", {"train.lr": 1e-2})]
    first = _meet(networks, flow_folder)
    assert len(trained) == 2 * 8
    again = _meet(networks[::-1], flow_folder)
    assert len(trained) == 2 * 8
    assert first.networks == again.networks[::-1]
    assert first.pairs[0].difference == pytest.approx(-again.pairs[0].difference)
    assert _meet(networks, flow_folder, seeds=(1000, 1002)).seeds == (1000, 1002)
    assert trained[16:] == [(1002, f"sub0{k}") for k in (1, 2, 3, 4)] * 2


def test_a_network_that_learns_is_better_than_one_that_does_not(trained, target, eight):
    networks = [target("learns", LEARNS), target("does-not", DOES_NOT)]
    for order in (networks, networks[::-1]):
        found = _meet(order, eight, seeds=(1000,))
        pair = found.pairs[0]
        assert pair.conclusion.startswith("learns is better than does-not: UF1 ")
        assert pair.shown and found.winner == "learns" and found.winner_shown
        assert pair.difference == pytest.approx(found.networks[0].uf1 - found.networks[1].uf1)
        assert (pair.difference > 0) == (order[0].title == "learns")
        assert pair.ci95[0] < pair.difference < pair.ci95[1]


def test_noise_of_seeds_is_no_difference(trained, target, eight):
    """Noise too small to matter draws random numbers all the same, and so changes what is drawn after it."""
    values = {"train.epochs": 3, "train.lr": 3e-3}
    found = _meet([target("one", values), target("other", values | {"train.noise": 1e-6})], eight, seeds=(1000,))
    assert found.pairs[0].difference != 0
    assert found.pairs[0].conclusion.startswith("no difference shown between one and other: UF1 ")
    assert not found.pairs[0].shown and not found.winner_shown


def test_folds_are_shared_with_a_confirmation_and_what_was_right_is_counted_by_subject(
    everywhere, trained, target, flow_folder
):
    one = target("one", LEARNS)
    found = _meet([one, target("two", DOES_NOT)], flow_folder, subjects="2-3")
    before = len(trained)
    job = Confirmation(one, load_data(flow_folder, one.run, silent), found.subjects, found.seeds)
    train([job], everywhere, silent)
    assert len(trained) == before
    assert (found.subjects, found.clips_by_subject) == (("sub02", "sub03"), {"sub02": 6, "sub03": 6})
    assert (found.dataset, found.synthetic) == ("MEGC 2019 flow images, 3 classes", False)
    matrices = comparing.tail_matrices(load_folds(job.store).values(), job.seeds, job.subjects)
    assert found.networks[0].uf1_by_seed == tuple(uf1(matrices.sum(1)))
    right = np.trace(matrices, axis1=-2, axis2=-1).mean(0)
    assert found.networks[0].n_correct_by_subject == dict(zip(found.subjects, right, strict=True))
    assert sorted(path.name for path in (job.store / "checkpoints").iterdir()) == [
        f"{seed}-{subject}.safetensors" for seed in job.seeds for subject in job.subjects
    ]


def test_networks_on_other_clips_are_refused_before_any_is_trained(trained, tiny, tmp_path):
    """A clip without its offset's frame is of use to a network that looks no further than the middle."""
    write_casme2(tmp_path / "casme2", 3)
    (tmp_path / "casme2/Cropped/sub03/EP01_03f/reg_img29.jpg").write_bytes(b"no picture")
    networks = [
        Target(with_values(tiny, {"frames.maps": maps, "train.epochs": 1}), f"{maps} maps", tmp_path / f"{maps}")
        for maps in (1, 2)
    ]
    with pytest.raises(UsageError, match=r"the same clips and labels .*, but 1 maps has \w+ and 2 maps has \w+; "):
        _meet(networks, tmp_path / "casme2", seeds=(1000,))
    assert trained == []


def test_several_pairs_are_corrected_together():
    """Alone each of two equal pairs would be shown; of twenty none is."""
    better, worse = np.array([[9, 1], [1, 9]]), np.array([[6, 4], [4, 6]])
    first = Contestant("first", "", np.tile(better, (1, 8, 1, 1)) + np.arange(8)[:, None, None] % 2)
    other = Contestant("other", "", np.tile(worse, (1, 8, 1, 1)))
    names, alone = [f"sub{k}" for k in range(8)], comparison([first, other], "abcdefgh", (0,), (), "ab", "", False)
    assert alone.pairs[0].shown and alone.pairs[0].p == alone.pairs[0].p_holm == 2 / 256
    among = comparison([first, *[other] * 20], names, (0,), (), "ab", "", False)
    assert {(pair.p, pair.p_holm, pair.shown) for pair in among.pairs} == {(2 / 256, 40 / 256, False)}
    assert "p = 0.156 (Holm, of 20)" in among.pairs[0].conclusion
    assert among.winner == "first" and not among.winner_shown


def _follow(steps, strength):
    """What happens in a plan when the strongest network wins: the steps that met, and each step's winner."""
    met, winners = [], {}

    def evaluate(names, subjects):
        met.append((names, subjects))
        right = [[[[strength[name], 10 - strength[name]], [10 - strength[name], strength[name]]]] for name in names]
        networks = [Contestant(name, "", np.array([each])) for name, each in zip(names, right, strict=True)]
        return names.index(comparison(networks, ("sub01",), (1000,), (), "ab", "", False).winner), None

    for step, _, winner, _ in follow(steps, evaluate):
        winners[step.name] = winner
    return met, winners


def test_the_plan_of_the_ablation_that_comes_with_the_package():
    assert load_plan("ablation") == (
        Step(name="ablation", compare=("V3NR", "ablation-A", "ablation-B"), subjects="all"),
    )


@pytest.mark.parametrize(
    ("strength", "best", "last"),
    [
        ({"V6": 9, "V6c": 8, "V5NR": 7, "V5NS": 10}, "V6", None),
        ({"V6": 8, "V6c": 9, "V5NR": 7, "V5NS": 10}, "V6c", None),
        ({"V6": 8, "V6c": 7, "V5NR": 9, "V5NS": 6}, "V5NR", (("V5NR", "V5NS"), "all")),
        ({"V6": 7, "V6c": 8, "V5NR": 9, "V5NS": 10}, "V5NS", (("V5NR", "V5NS"), "all")),
        ({"V6": 5, "V6c": 5, "V5NR": 5, "V5NS": 5}, "V6", None),
    ],
    ids=["V6", "V6c", "V5NR", "V5NS", "of equals the first"],
)
def test_the_decision_hands_winners_on_and_ends_with_the_best(strength, best, last):
    met, winners = _follow(load_plan("decision"), strength)
    sixth = max("V6", "V6c", key=strength.get)
    expected = [(("V6", "V6c"), "1-10"), ((sixth, "V5NR"), "1-10")]
    assert met == expected + ([last] if last else [])
    assert winners == {"V6?": sixth, "V56?": max(sixth, "V5NR", key=strength.get), "best V5": best}


STEP = '[[step]]\nname = "a"\ncompare = ["V4", "V3NR"]\nsubjects = "all"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"must hold \[\[step\]\] entries"),
        ("step = []", r"must hold \[\[step\]\] entries"),
        ("step = 3", r"must hold \[\[step\]\] entries"),
        ("step = [3]", r"each with a name.*step\.0: .*should be a valid dictionary"),
        (f"other = 1\n{STEP}", "other: .*not permitted, but got 1"),
        (STEP.replace('name = "a"', ""), "each with a name.*name: Field required"),
        (STEP.replace('name = "a"', "name = 3"), "name: .*but got 3"),
        (STEP.replace('subjects = "all"', ""), "subjects: Field required"),
        (STEP.replace('"all"', "10"), "subjects: .*but got 10"),
        (STEP.replace(', "V3NR"', ""), "two networks or more.*'V4'"),
        (STEP.replace('["V4", "V3NR"]', '"V4"'), "compare: .*but got 'V4'"),
        (STEP.replace('"V3NR"', "3"), r"compare\.1: .*but got 3"),
        (f"{STEP}when = 1", "when: .*but got 1"),
        (STEP + STEP, "two are called 'a'"),
        (STEP.replace("V3NR", "a"), "step 'a' must compare earlier ones, but 'a' is no earlier one"),
        (STEP.replace("V3NR", "b") + STEP.replace('"a"', '"b"'), "but 'b' is no earlier one"),
        (f'{STEP}only_if = "V5"', "only_if of step 'a' must be one of V3NR, V4, but is 'V5'"),
    ],
)
def test_a_wrong_plan_is_one_clear_line(tmp_path, text, words):
    file = tmp_path / "plan.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=rf"(?s)plan\.toml.*{words}") as caught:
        load_plan(str(file))
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_not_there_or_no_toml(tmp_path):
    with pytest.raises(UsageError, match="one of ablation, decision, but there is no 'decisoin'"):
        load_plan("decisoin")
    (tmp_path / "none.toml").write_text("this is no TOML")
    with pytest.raises(UsageError, match=r"plan .*none\.toml: not valid TOML: Expected '='"):
        load_plan(str(tmp_path / "none.toml"))
    (tmp_path / "none.toml").unlink()
    with pytest.raises(UsageError, match=r"a plan must be a .toml file or one of .* there is no .*none.toml"):
        load_plan(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(("subjects", "others", "too_few"), [(6, 1, ""), (6, 2, "6"), (7, 2, ""), (5, 1, "5")])
def test_too_few_subjects_are_told_by_the_least_p_that_there_can_be(subjects, others, too_few):
    """Subjects on whom two networks agree do not count, and p is corrected for pairs."""
    right, wrong = (np.tile(rows, (1, subjects + 1, 1, 1)) for rows in ([[2, 0], [0, 2]], [[1, 1], [1, 1]]))
    right[0, -1] = wrong[0, -1]
    met = [Contestant("right", "", right), *[Contestant("wrong", "", wrong)] * others]
    names = [f"s{k}" for k in range(subjects + 1)]
    (pair, *_) = comparison(met, names, (0,), (), "ab", "MEGC", False).pairs
    assert pair.shown != bool(too_few)
    assert ("too few" in pair.numbers) == (f"{too_few} subjects that tell them apart are too few" in pair.numbers)
    assert ("too few" in pair.numbers) == bool(too_few)


def test_what_is_shown_is_not_called_too_few():
    """Of two pairs the smaller p counts twice, the other once."""
    right, wrong = (np.tile(rows, (1, 7, 1, 1)) for rows in ([[2, 0], [0, 2]], [[1, 1], [1, 1]]))
    six = np.concatenate([wrong[:, :6], right[:, :1]], axis=1)
    met = [Contestant("right", "", right), Contestant("six", "", six), Contestant("wrong", "", wrong)]
    pairs = comparison(met, [f"s{k}" for k in range(7)], (0,), (), "ab", "MEGC", False).pairs
    assert [(pair.p, pair.shown, "too few" in pair.numbers) for pair in pairs] == [
        (1 / 32, True, False),
        (1 / 64, True, False),
    ]


def test_all_seeds_and_networks_are_scored_by_the_same_classes():
    """No clip is of the third class; one network says it once, with its second seed."""
    says = np.array([[[3, 1, 0], [1, 3, 0], [0, 0, 0]], [[3, 0, 1], [1, 3, 0], [0, 0, 0]]])[:, None]
    never = np.tile([[2, 2, 0], [1, 3, 0], [0, 0, 0]], (2, 1, 1, 1))
    met = [Contestant("says", "", says), Contestant("never", "", never)]
    found = comparison(met, ("s1",), (0, 1), (), "abc", "MEGC", False)
    one, other = (network.uf1 for network in found.networks)
    assert found.pairs[0].difference == pytest.approx(one - other)
    assert (one, other) == (pytest.approx((6 / 8 + 6 / 8 + 6 / 7 + 6 / 8) / 4), pytest.approx((4 / 7 + 6 / 9) / 2))
    assert found.not_counted == ("c",)
    folds = [
        Predictions(seed, "s1", tuple("abcdefgh"), np.repeat([0, 1], 4), np.eye(3, dtype=np.float16)[[guesses]])
        for seed, guesses in enumerate(([0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 2, 1, 1, 1, 0]))
    ]
    score = scoring._scored(folds, ["s1"], tail)
    assert (score.uf1, score.classes_left_out) == (pytest.approx(one), (2,))
    assert np.mean(score.f1_by_class[:2]) == pytest.approx(score.uf1)

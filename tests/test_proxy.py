"""What confirmations say about subjects."""

import shutil

import optuna
import pytest
from small import SCORE, summary_with

from mer_search.confirmation.folders import confirmation, confirmed_uf1
from mer_search.confirmation.proxy import proxy
from mer_search.errors import DataError, UsageError
from mer_search.report.trials import proxy_line


@pytest.fixture
def confirmed(tmp_path):
    """A function (scores of the search, UF1 of their confirmations) -> study."""

    def make(tuning, uf1):
        study = optuna.create_study(study_name="small", direction="maximize")
        study.set_user_attr("out", str(tmp_path))
        for number, (score, found) in enumerate(zip(tuning, uf1, strict=True)):
            params, axes = {"train.lr": number}, {"train.lr": optuna.distributions.FloatDistribution(0, 99)}
            trial = optuna.create_trial(value=score, params=params, distributions=axes, user_attrs=HERE)
            study.add_trial(trial)
            _write(tmp_path / "confirm" / f"trial-{number}", found)
        return study

    return make


def _write(folder, uf1):
    """A confirmation whose UF1 on all subjects says the opposite of that on the other ones."""
    folder.mkdir(parents=True)
    rules = {"tail": {"all": SCORE | {"uf1": 1 - uf1}, "other": SCORE | {"uf1": uf1}}}
    (folder / "summary.json").write_text(summary_with(rules=rules).to_json())


HERE = {"fold_epochs": [8, 8]}  # as a trial leaves it that was not added by hand
SCORES = [0.5, 0.52, 0.55, 0.6, 0.61, 0.65, 0.66, 0.7]


@pytest.mark.parametrize(
    ("uf1", "words"),
    [
        (SCORES, "+1.00, 95 % +1.00 to +1.00: the score ranks trials as the others do."),
        (SCORES[::-1], "that it never scored: rank correlation -1.00, 95 % -1.00 to -1.00: the score misleads"),
        ([0.6, 0.5, 0.7, 0.55, 0.65, 0.5, 0.7, 0.6], "the score is not shown to rank trials"),
    ],
)
def test_the_search_score_is_checked_against_confirmed_trials(confirmed, uf1, words):
    assert words in proxy_line(proxy(confirmed(SCORES, uf1)))


def test_few_confirmed_trials_tell_nothing_and_one_is_not_even_mentioned(confirmed, tmp_path):
    study = confirmed(SCORES[:4], SCORES[:4])
    found = proxy(study)
    assert (found.trials, found.ci95, found.on_other) == ((0, 1, 2, 3), None, True)
    assert "rank correlation +1.00: too few to tell" in proxy_line(found)
    for number in (0, 1, 2):
        (tmp_path / "confirm" / f"trial-{number}" / "summary.json").unlink()
    assert proxy(study) is None


def test_equal_scores_have_no_correlation_and_all_trials_are_not_called_the_best(confirmed):
    equal = proxy_line(proxy(confirmed([0.5] * 6, SCORES[:6])))
    assert "rank correlation not estimable: all have the same score." in equal and "among the best" not in equal


def test_some_of_the_trials_are_called_the_best_of_them(confirmed):
    study = confirmed(SCORES[:5], SCORES[:5])
    study.add_trial(optuna.create_trial(value=0.4, user_attrs=HERE))
    assert "These are among the best" in proxy_line(proxy(study))


def test_only_trials_that_ran_to_their_end_and_were_confirmed_on_everybody_count(confirmed, tmp_path):
    study = confirmed(SCORES[:2], SCORES[:2])
    study.add_trial(optuna.create_trial(value=0.1, user_attrs=HERE | {"stopped_after": 3}))
    for name in ("trial-2", "trial-1-3-subjects-abcdef", "against-01234567"):
        _write(tmp_path / "confirm" / name, 0.9)
    assert proxy(study).trials == (0, 1)
    (tmp_path / "confirm" / "trial-1" / "summary.json").write_text("{")
    with pytest.raises(DataError, match="must be a confirmation's summary"):
        proxy(study)


def test_the_confirmation_that_the_search_puts_first_is_taken_and_moved_results_are_told(confirmed, tmp_path):
    study = confirmed([0.3, 0.5, 0.4], [0.5, 0.4, 0.2])  # UF1 on all subjects is 1 - that
    assert list(confirmed_uf1(study)) == [2, 1, 0]
    assert confirmation(study, None).name == "trial-1"
    shutil.rmtree(tmp_path / "confirm" / "trial-1")
    assert confirmation(study, None).name == "trial-2"
    study.add_trial(study.get_trials()[1])  # the best once more, confirmed
    _write(tmp_path / "confirm" / "trial-3", 0.3)
    assert confirmation(study, None).name == "trial-3"
    study.set_user_attr("out", str(tmp_path / "moved"))
    with pytest.raises(DataError, match="if it was moved"):
        confirmation(study, None)


def test_without_a_confirmation_there_is_nothing_to_rank(confirmed):
    with pytest.raises(UsageError, match="must have a trial confirmed on all subjects"):
        confirmation(confirmed([], []), None)

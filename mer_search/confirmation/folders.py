"""Where a study's confirmations are: which trials are confirmed on all subjects, and which of them is meant."""

import re
from pathlib import Path

import optuna

from mer_search.confirmation.summary import Summary, read_summary
from mer_search.errors import UsageError
from mer_search.search.storage import ranked_trials, results


def confirmations(study: optuna.Study) -> dict[int, Path]:
    """trial -> folder of its confirmation on all subjects of the study's data, where it was carried to its end."""
    return dict(_finished(study, r"trial-(\d+)"))


def other_confirmations(study: optuna.Study) -> dict[Path, Summary]:
    """folder -> summary of each trial's confirmations on all subjects of other data than the search's, or with other
    folds. No trial is chosen by them."""
    folders = [folder for _, folder in _finished(study, r"trial-(\d+)-[0-9a-f]{8}")]
    return {folder: read_summary(folder / "summary.json") for folder in folders}


def _finished(study: optuna.Study, name: str) -> list[tuple[int, Path]]:
    """The trial and the folder of each confirmation that was carried to its end, whose folder has such a name."""
    found = [path.parent for path in (Path(study.user_attrs["out"]) / "confirm").glob("trial-*/summary.json")]
    matches = [(re.fullmatch(name, folder.name), folder) for folder in found]
    return sorted((int(match[1]), folder) for match, folder in matches if match)


def confirmed_uf1(study: optuna.Study) -> dict[int, float]:
    """trial -> confirmed UF1 on all subjects, the best first."""
    found = {number: read_summary(path / "summary.json").tail.uf1 for number, path in confirmations(study).items()}
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def confirmation(study: optuna.Study, trial: int | None) -> Path:
    """The folder of a trial's confirmation; if `trial` is None, of the one that the search puts first: to choose by
    confirmed figures would make these look better than they are."""
    results(study)  # moved ones are told, instead of that nothing is confirmed
    folders = confirmations(study)
    if trial is None and not folders:
        raise UsageError(
            f"study {study.study_name!r} must have a trial confirmed on all subjects, but has none; run `mer-search "
            "confirm` without --subjects first, or give --study-name if another study is meant"
        )
    params = {trial.number: trial.params for trial in study.get_trials(deepcopy=False)}
    ranked = [each for best in ranked_trials(study) for each in folders if params.get(each) == best.params]
    number = next(iter([*ranked, *folders])) if trial is None else trial
    if number not in folders:
        have = f"confirmed: {', '.join(f'trial {each}' for each in folders)}" if folders else "none is confirmed"
        raise UsageError(f"--trial must be confirmed on all subjects, but {trial} is not ({have}); confirm it first")
    return folders[number]


def store_of(folder: Path) -> Path:
    """Where a confirmation's folds lie, whichever subjects it was asked for."""
    return folder.with_name(re.sub(r"-\d+-(?:subjects|databases)-\w+$", "", folder.name))

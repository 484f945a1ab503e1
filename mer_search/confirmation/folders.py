"""Where a study's confirmations are: which trials are confirmed on all subjects, and which was confirmed last."""

import re
from pathlib import Path

import optuna

from mer_search.errors import UsageError


def confirmations(study: optuna.Study) -> dict[int, Path]:
    """trial -> folder of its confirmation on all subjects of the study's data, where it was carried to its end."""
    folders = (Path(study.user_attrs["out"]) / "confirm").glob("trial-*")
    numbers = {int(match[1]): path for path in folders if (match := re.fullmatch(r"trial-(\d+)", path.name))}
    return {number: path for number, path in sorted(numbers.items()) if (path / "summary.json").exists()}


def confirmation(study: optuna.Study, trial: int | None) -> Path:
    """The folder of a trial's confirmation; of the last one if `trial` is None.

    Raises:
        UsageError: if there is none.
    """
    if trial is None:
        return latest(study)
    folders = confirmations(study)
    if trial not in folders:
        have = f"confirmed are {', '.join(map(str, folders))}" if folders else "none is confirmed"
        raise UsageError(f"--trial must be confirmed on all subjects, but {trial} is not ({have}); confirm it first")
    return folders[trial]


def latest(study: optuna.Study) -> Path:
    """The folder of the study's last confirmation.

    Raises:
        UsageError: if there is none.
    """
    folders = confirmations(study).values()
    if not folders:
        raise UsageError(
            f"study {study.study_name!r} must have a trial confirmed on all subjects, but has none; run `mer-search "
            "confirm` without --subjects first, or give the folder of a trial that was confirmed on some"
        )
    return max(folders, key=lambda path: (path / "summary.json").stat().st_mtime)


def store_of(folder: Path) -> Path:
    """Where a confirmation's folds lie, whichever subjects it was asked for."""
    return folder.with_name(re.sub(r"-\d+-subjects-\w+$", "", folder.name))

"""Weights from files, one a subject, scored on that subject's clips: published ones, or this tool's own."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from mer_search.config import Run, Value, with_values
from mer_search.confirmation.score import pooled
from mer_search.data import fit, open_folder
from mer_search.errors import DataError, UsageError
from mer_search.evaluation.folds import select_subjects
from mer_search.evaluation.metrics import accuracy, fold_confusion, last, macro_f1, without_clips
from mer_search.evaluation.predictions import Predictions
from mer_search.model.network import Network
from mer_search.model.public import load_public_weights, public_names
from mer_search.search.workspace import Loaded, Progress, find_data, load_data
from mer_search.training.fold_store import read_config
from mer_search.training.predict_proba import predict_proba

ENDINGS = (".pth", ".pt", ".safetensors")
FIRST_STAGE = re.compile("action_units|embed_model")
UNITS = ("pretrained.main_branch.embedau.bias", "units.bias")  # of V6: the public name, and ours


def find_weights(paths: Sequence[Path], subjects: Sequence[str]) -> dict[str, Path]:
    """Subject -> the file, perhaps in a folder, of a network that never saw it, as its name tells: `5model.pth`,
    `sub05.pth`, `1000-sub05.safetensors`. There must be one file a subject."""
    found: dict[str, Path] = {}
    for file in (file for path in paths for file in _files(path)):
        subject = _subject(file, subjects)
        if subject in found:
            raise UsageError(
                f"there must be one file a subject, but of {subject} there are {found[subject]} and {file}; name those "
                f"of one seed and epoch, such as {file.parent}/{file.name.replace(subject, '*')}"
            )
        found[subject] = file
    if not found:
        raise UsageError(f"WEIGHTS must be files {', '.join(ENDINGS)} or folders of them, but there are none")
    return found


def kept_run(paths: Sequence[Path]) -> Run | None:
    """The run whose `checkpoints` these paths are, or are in, as the config.json beside that folder has it; None of
    other weights. UsageError if there is no such path."""
    if missing := [path for path in paths if not path.exists()]:
        raise UsageError(f"WEIGHTS must be files or folders, but there is no {missing[0]}")
    (folder, *others) = {(path if path.is_dir() else path.parent).resolve() for path in paths}
    config = folder.parent / "config.json"
    return None if others or folder.name != "checkpoints" or not config.exists() else read_config(config)


def _check_clips(kept: Run, path: Path, **found: str) -> None:
    """Raise UsageError if the data are not those of a run, whose networks never saw a subject of them: `found` are its
    fields of Data."""
    for key, value in found.items():
        if value != (must := getattr(kept.data, key)):
            raise UsageError(
                f"these networks must be scored on the clips of their run ({key} {must}), but {path} has others "
                f"({value}); give the run's --data and --task"
            )


def _files(path: Path) -> list[Path]:
    """The file, or those in a folder that may hold a network that was trained to the end: one of the first of two
    stages knows no emotions yet."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in ENDINGS)
        return [file for file in files if not FIRST_STAGE.search(file.name)]
    if FIRST_STAGE.search(path.name):
        raise UsageError(f"WEIGHTS must be of networks that know emotions, but {path} is of the first of two stages")
    return [path]


def _subject(file: Path, subjects: Sequence[str]) -> str:
    named = [subject for subject in subjects if subject in file.stem]
    numbers = re.findall(r"\d+", file.stem)
    if not named and len(numbers) == 1:
        named = list(select_subjects(numbers[0], subjects, ()))
    if len(named) != 1:
        raise UsageError(
            f"a file's name must tell the subject that its network never saw, as 5model.pth or {subjects[0]}.pth do, "
            f"but {file.name} tells {' and '.join(named) or 'none'} of {', '.join(subjects)}; rename it, or give "
            "the --data that it is of"
        )
    return named[0]


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors in a file, by name; nothing in it is run. DataError where it holds anything else."""
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # torch, pickle and safetensors each have their own
        raise DataError(
            f"{path} must hold a network's tensors and nothing else, but cannot be read as such "
            f"({type(error).__name__}); download or write it anew"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    items = state.items() if isinstance(state, dict) else [(None, state)]
    if not all(isinstance(name, str) and isinstance(item, Tensor) for name, item in items):
        raise DataError(f"{path} must hold a network's state, a tensor a name, but holds a {type(state).__name__}")
    if not all(item.isfinite().all() for item in state.values()):
        raise DataError(f"{path} must hold finite weights, but some are not; download or write it anew")
    return dict(state)


def load_weights(path: Path, run: Run) -> Network:
    """The run's network with the weights in a file, by public names or ours, in evaluation mode; DataError if it cannot
    be read, UsageError if they do not fit the network."""
    try:
        return _network(read_weights(path), run)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _network(state: dict[str, Tensor], run: Run) -> Network:
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    network = Network(run, next((len(state[name]) for name in UNITS if name in state), 0))
    if set(state) == set(network.state_dict()):
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip().rstrip(".")
            raise UsageError(
                f"the weights must have the shapes of this network, but have not: {first}; give the --preset and the "
                "--set that they were trained with"
            ) from None
    elif set(state) & set(public_names(network).values()):
        load_public_weights(network, state)
    else:
        raise UsageError(
            "the weights must be of this network, but none of their names is "
            f"({', '.join(list(state)[:2])} ...); give the --preset and the --set that they were trained with"
        )
    return network.eval()


def evaluate(
    weights: Sequence[Path],
    run: Run,
    own: bool,
    values: Mapping[str, Value],
    data: Path | None,
    device: str,
    progress: Progress,
) -> dict[str, Any]:
    """What networks from files score on the clips of the subjects that they never saw.

    Args:
        own: they are checkpoints of this run, whose clips the data must be.
        values: of the run's `data`, as given here.

    Raises:
        DataError, UsageError: for a file that cannot be read, or does not fit the run, and for other data than the
            run's own.
    """
    run = with_values(run, {**values, "frames.crops": 0})
    path = find_data(data, progress)
    if own:
        _check_clips(run, path, dataset=open_folder(path).name)
    folder = open_folder(path, run.data.task)
    files = find_weights(weights, sorted({clip.fold(run.data.leave_out) for clip in folder.clips}))
    load_weights(next(iter(files.values())), fit(run, folder, folder.clips))  # before motion is measured
    loaded = load_data(path, run, progress)
    if own:
        _check_clips(run, path, checksum=loaded.run.data.checksum)
    found, clips, owner = [], loaded.tensors.to(device), np.array(loaded.folds)
    if not (there := {subject: file for subject, file in files.items() if subject in loaded.folds}):
        raise DataError(
            f"networks are evaluated on clips of {', '.join(files)}, but none can be used; see `mer-search data check`"
        )
    for done, (subject, file) in enumerate(there.items(), 1):
        network, places = load_weights(file, loaded.run).to(device), np.flatnonzero(owner == subject)
        parts = np.array_split(places, -(-len(places) // loaded.run.train.batch))
        probs = [predict_proba(network, loaded.run, *clips.of_sets(clips.first[part])) for part in parts]
        guesses = torch.cat(probs).half().cpu().numpy()[None]
        names = tuple(clips.names[place] for place in places)
        found.append(Predictions(0, subject, names, loaded.labels[places], guesses))
        progress("evaluating networks", done, len(there))
    # As their names tell: published ones are of the epoch that was best on the test person.
    leaks = run.leaks or any(file.suffix != ".safetensors" or "best_test_epoch" in file.name for file in there.values())
    return _scored(found, loaded, leaks)


def _scored(folds: Sequence[Predictions], loaded: Loaded, leaks: bool) -> dict[str, Any]:
    """Each subject, or database, alone, and all together."""
    matrices = np.array([fold_confusion(fold, last) for fold in folds])
    subjects = [
        {"subject": fold.subject, "clips": len(fold.labels), "f1": float(f1), "accuracy": float(right)}
        for fold, f1, right in zip(folds, macro_f1(matrices), accuracy(matrices), strict=True)
    ]
    missing = sorted(set(loaded.folds) - {fold.subject for fold in folds})
    return {
        "dataset": loaded.folder.title,
        "synthetic": loaded.folder.synthetic,
        "leaks": leaks,
        "subjects": subjects,
        "missing": missing,
        "not_counted": without_clips(matrices, loaded.run.data.classes),
        **pooled(matrices).model_dump(),
    }

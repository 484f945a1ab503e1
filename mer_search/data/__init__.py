"""A folder on disk becomes clips. A dataset is declared facts and a reader: `folder -> clips and problems`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mer_search.config import Data, Run, with_values
from mer_search.data import casme2, flow_images, synthetic
from mer_search.data.clips import Clip, Problem, checksum
from mer_search.errors import DataError, UsageError


@dataclass(frozen=True)
class Dataset:
    """What is known of a dataset before looking at a folder."""

    title: str
    classes: tuple[str, ...]
    recognise: Callable[[Path], bool]
    read: Callable[[Path], tuple[list[Clip], list[Problem]]]
    hardest: tuple[str, ...] = ()  # the published list; () where there is none
    flow_images: bool = False  # clips are finished motion maps: one map, no onset image


DATASETS: dict[str, Dataset] = {
    casme2.NAME: Dataset("CASME II, 5 classes", casme2.CLASSES, casme2.recognise, casme2.read, casme2.HARDEST),
    flow_images.NAME: Dataset(
        "MEGC 2019 flow images, 3 classes",
        flow_images.CLASSES,
        flow_images.recognise,
        flow_images.read,
        flow_images=True,
    ),
}


@dataclass(frozen=True)
class Folder:
    """What a dataset's folder holds."""

    path: Path
    name: str  # in DATASETS
    clips: tuple[Clip, ...] = field(repr=False)
    problems: tuple[Problem, ...] = field(repr=False)
    synthetic: bool

    @property
    def dataset(self) -> Dataset:
        return DATASETS[self.name]

    @property
    def title(self) -> str:
        return f"{self.dataset.title}{' (synthetic)' if self.synthetic else ''}"


def open_folder(path: Path) -> Folder:
    """Find out which dataset a folder is and read it.

    Raises:
        DataError: if there is no such folder, no reader knows it, or it holds no clip at all.
    """
    if not path.is_dir():
        raise DataError(f"the data must be a folder, but {path} {'is a file' if path.exists() else 'does not exist'}")
    for name, dataset in DATASETS.items():
        if dataset.recognise(path):
            clips, problems = dataset.read(path)
            if not clips and not problems:
                raise DataError(f"{path} looks like {dataset.title}, but holds no clip")
            return Folder(path, name, tuple(clips), tuple(problems), (path / synthetic.MARKER).exists())
    raise DataError(
        f"the data must be a known dataset's folder, but {path} has neither a CASME2-coding spreadsheet "
        "nor <subject>/u_test folders of flow images; point at the folder that holds them"
    )


def fit(run: Run, folder: Folder, clips: Sequence[Clip]) -> Run:
    """The run with its Data part taken from what was read.

    Raises:
        UsageError: if the run asks of flow images what they do not have.
    """
    if folder.dataset.flow_images:
        needed = {
            "frames.maps": (run.frames.maps, 1),
            "model.position": (run.model.position, False),
            "flow.method": (run.flow.method, "farneback"),
        }
        for key, (found, must) in needed.items():
            if found != must:
                raise UsageError(
                    f"flow images have one motion map and no onset image, so {key} must be {must}, "
                    f"but is {found}; use --study megc2019 or set it in the study file"
                )
    data = Data(dataset=folder.name, classes=folder.dataset.classes, checksum=checksum(clips))
    return with_values(run, {f"data.{key}": value for key, value in data})

"""Where folds are trained, as `--executor`, `--device` and `--slots` say: the executor that they name."""

import re
from dataclasses import dataclass

from mer_search.config import Run
from mer_search.engine.executor import Executor
from mer_search.errors import UsageError


@dataclass(frozen=True)
class Where:
    """The words of `--executor`, `--device` and `--slots`; UsageError for an executor that cannot be."""

    executor: str = "local"  # or "ray", "ray://HOST:PORT"
    device: str = "cpu"  # or "cuda"
    slots: int | None = None  # tasks that are trained at once; None for as many as the machine, or the cluster, has

    def __post_init__(self) -> None:
        if not re.fullmatch(r"local|ray|ray://\S+:\d+", self.executor):
            raise UsageError(f"--executor must be local, ray or ray://HOST:10001, but got {self.executor!r}")

    def open(self, run: Run, exact: bool = False) -> Executor:
        """The executor, for runs about as large as this; to be closed. `exact`: a GPU must give the same result again,
        which costs speed; a CPU does. UsageError if Ray is not installed, MerSearchError if it cannot be reached."""
        if self.executor == "local":
            from mer_search.engine.local import LocalExecutor, machine_slots

            return LocalExecutor(self.device, *machine_slots(run, self.device, self.slots), exact)
        from mer_search.engine.ray import RayExecutor

        return RayExecutor("" if self.executor == "ray" else self.executor, run, self.device, self.slots, exact)

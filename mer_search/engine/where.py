"""Where folds are trained, as `--executor`, `--device` and `--slots` say: the executor that they name."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from mer_search.config import Run
from mer_search.engine.executor import Executor, check_executor


def open_executor(where: str, run: Run, device: str, slots: int | None = None, exact: bool = False) -> Executor:
    """The executor that `--executor` names. Local workers start with their first tasks.

    Args:
        where: "local", "ray" or "ray://HOST:PORT".
        run: tasks are about as large as this.
        device: "cpu" or "cuda".
        slots: how many tasks are trained at once; None for as many as the machine, or the cluster, has.
        exact: whether a GPU must give the same result again, which costs speed; a CPU does.

    Raises:
        UsageError: if there is no such executor, or Ray is not installed.
        MerSearchError: if a cluster cannot be reached.
    """
    check_executor(where)
    if where == "local":
        from mer_search.engine.local import LocalExecutor, machine_slots

        size, threads = machine_slots(run, device, slots)
        return LocalExecutor(device, size, threads, exact)
    from mer_search.engine.ray import RayExecutor

    return RayExecutor("" if where == "ray" else where, run, device, slots, exact)


@dataclass(frozen=True)
class Where:
    """Where folds are trained: the words of `--executor`, `--device` and `--slots`."""

    executor: str = "local"
    device: str = "cpu"
    slots: int | None = None

    @contextmanager
    def open(self, run: Run, exact: bool = False) -> Iterator[Executor]:
        """The executor, for runs about as large as this; exact where a GPU must give the same result again."""
        with closing(open_executor(self.executor, run, self.device, self.slots, exact)) as executor:
            yield executor

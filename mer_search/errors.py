"""The one exception tree. A message says what must hold, what was found and what to do.

`mer_search.cli` prints the message as one line and leaves with `exit_code`; nothing else is shown to a user.
"""


class MerSearchError(Exception):
    """Anything that a user can mend. Base of the tree, never raised itself."""

    exit_code = 1


class UsageError(MerSearchError):
    """The command, a study file or a configuration asks for something that cannot be."""

    exit_code = 2


class DataError(MerSearchError):
    """A dataset folder, or a file in it, is not what it must be."""


class StorageError(MerSearchError):
    """A study's storage cannot be opened, or belongs to another run."""


class DiskError(MerSearchError):
    """A file cannot be written: the disk is full, or not ours to write on."""


class Infeasible(MerSearchError):  # noqa: N818 (a property of the configuration)
    """A configuration cannot be trained: it diverges or does not fit the device. A trial learns from it: `constraint`
    names what was violated, in words that stand in the study's storage."""

    def __init__(self, message: str, constraint: str) -> None:
        super().__init__(message, constraint)  # both, so that it can be sent from one process to another
        self.message, self.constraint = message, constraint

    def __str__(self) -> str:
        return self.message


DOES_NOT_FIT = "fits memory"  # the constraint that a network violates which is too large for the device
CLIPS_DO_NOT_FIT = "clips fit memory"  # the constraint that a configuration violates whose clips' motion is

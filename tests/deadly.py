"""What kills a process that trains; imports nothing heavy, because that process has to import it."""

import ctypes


class Deadly:
    """A checkpoint's path that is a segmentation fault, as of a defect in a driver, once the fold is trained."""

    @property
    def parent(self) -> None:
        ctypes.string_at(0)

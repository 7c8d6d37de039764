"""The one exception family of this project.

Belongs here: errors a user can fix. Each says what is wrong, where, and how to put it right, so that the
command line can print it without a traceback and Dagster can show it as the failure's description.
"""

from __future__ import annotations

import errno
from pathlib import Path


class SpavlError(Exception):
    """A problem the user can fix.

    Args:
        message: What is wrong, naming the culprit (file, key, id).
        hint: How to fix it, in one or two sentences.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Message and hint as one text."""
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ParamsError(SpavlError):
    """params.yaml, or a file it points to, is not what the project can work with."""


class MissingInputError(SpavlError):
    """An upstream artifact or an input file is not there."""


class InvalidRowsError(SpavlError):
    """Rows broke the schema of an artifact; nothing was replaced."""


class BusyError(SpavlError):
    """Another process holds what this one needs."""


class MissingExtraError(SpavlError):
    """An optional part of the installation is needed and not there."""


class EngineError(SpavlError):
    """A model could not be loaded or an engine is not available."""


class OtherCheckoutError(SpavlError):
    """The library that runs is not the project's own.

    Attributes:
        root: The project.
    """

    def __init__(self, root: Path, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.root = root


_HINTS = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free some space and run it again: what was done is kept."
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "See to it that you may read and write there."),
    errno.EXDEV: "It must lie on the same disk as the project's other folders: no link to another one.",
}


def from_system(error: OSError) -> SpavlError:
    """What the system refused, in words."""
    code = error.errno or (errno.EACCES if isinstance(error, PermissionError) else 0)  # some libraries give none
    place = f"{error.filename}: " if error.filename else ""
    return SpavlError(f"{place}{error.strerror or error}", _HINTS.get(code, "See to it and run it again."))

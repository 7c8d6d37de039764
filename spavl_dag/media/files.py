"""Opening a user's files safely, and saying why one can't be used.

Belongs here: what is true of any file, whatever it holds. Not here: what an image is (`decode`, `ingest`).
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from spavl_dag.errors import SpavlError

MAX_FILE_BYTES = 256 * 2**20
"""Largest file that is read into memory."""

REASONS = (
    "animated",
    "bad_manifest_row",
    "broken_link",
    "empty",
    "linked_folder",
    "missing_file",
    "no_class",
    "not_a_regular_file",
    "outside_folder",
    "permission",
    "too_large_file",
    "too_many_pixels",
    "too_small",
    "truncated",
    "undecodable_name",
    "unknown_class",
    "unreadable",
    "unsupported_format",
)
"""Every reason a file can be quarantined for."""


class UnusableFileError(SpavlError):
    """A file that can't be used.

    Attributes:
        reason: One of `REASONS`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_image_bytes(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The content of a regular file; never waits on a pipe and never reads more than the limit.

    Args:
        path: The file; symbolic links are followed.
        max_bytes: Largest length allowed.

    Raises:
        UnusableFileError: The file isn't there, isn't a regular file, is empty, too large or may not be read.
    """
    try:
        # O_NONBLOCK: opening a pipe without a writer would wait forever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise why_unopened(path, error) from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise UnusableFileError("not_a_regular_file", f"is {_kind_of_file(status.st_mode)}")
        if status.st_size > max_bytes:
            raise UnusableFileError("too_large_file", f"{status.st_size} bytes, the limit is {max_bytes}")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise UnusableFileError("unreadable", f"can't be read: {error.strerror}") from None
    finally:
        os.close(handle)
    if not data:
        raise UnusableFileError("empty", "0 bytes")
    if len(data) > max_bytes:
        raise UnusableFileError("too_large_file", f"more than {max_bytes} bytes")
    return data


def printable(text: str) -> str:
    """A file name for tables and messages: odd characters and undecodable bytes as escapes."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    # Python gives an undecodable byte of a name as a lone surrogate, \udc80 to \udcff.
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def why_unopened(path: Path, error: OSError | ValueError) -> UnusableFileError:
    """The reason behind a failed system call on a path."""
    if isinstance(error, PermissionError):
        return UnusableFileError("permission", "may not be read: change its permissions")
    if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
        return UnusableFileError("missing_file", "no file can have this name")
    if error.errno in (errno.ENXIO, errno.EOPNOTSUPP, errno.ENODEV):
        return UnusableFileError("not_a_regular_file", "is a socket or a device")
    if error.errno == errno.ELOOP or os.path.islink(path):
        return UnusableFileError("broken_link", "the link leads nowhere")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return UnusableFileError("missing_file", "there is no such file")
    return UnusableFileError("unreadable", f"can't be opened: {error.strerror}")


def _kind_of_file(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")

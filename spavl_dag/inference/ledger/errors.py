"""What can be wrong with a ledger file, in words that say what to do; none of them quotes a text of the ledger."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spavl_dag.errors import BusyError, SpavlError

BUSY_SECONDS = 60.0


class LedgerError(SpavlError):
    """The ledger can't be opened, read or written."""


def damaged(path: Path, detail: str) -> LedgerError:
    """The file's content isn't what this project wrote."""
    drafts = sorted(path.parent.glob(f"{path.name}.*.new-wal"))
    if drafts:  # left by versions that named a ledger before they had seen it complete
        names = ", ".join(draft.name for draft in drafts)
        return LedgerError(
            f"{path} was never completed: the disk was full when it was made ({detail}).",
            f"If no call was ever kept in it, delete it and {names}, and run again.",
        )
    return LedgerError(
        f"{path} is damaged: {detail}.",
        "Keep a copy of it and of its -wal file. Then put a backup in its place, or save what can be read: "
        f'`sqlite3 "{path}" .recover | sqlite3 recovered.db` (the shell from sqlite.org; some of '
        "the distributions' lack .recover), and put recovered.db there. Calls that are lost are made again.",
    )


def full_disk(path: Path) -> LedgerError:
    """There is no room for what is to be written."""
    return LedgerError(
        f"{path} can't grow: the disk is full. Nothing of this batch was written, the rest is safe.",
        "Free some space and run the same command again: it goes on with the calls that are missing.",
    )


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors into ones that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        clear = _clear(path, error)
        if clear is None:
            raise
        # SQLite's words can quote a text, and tracebacks show causes; an error of the file itself has none.
        _raise_without_context(clear)
    except OSError as error:
        raise LedgerError(
            f"{path} can't be opened: {error.strerror or error}.",
            f"Check the permissions of {error.filename or path.parent} and the free space on its disk.",
        ) from error


@contextmanager
def clear_rows(path: Path) -> Iterator[None]:
    """Turn what goes wrong while rows are read and decoded into an error that says that they are damaged."""
    with clear_errors(path):
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError):  # bytes that are no UTF-8, codes that are none
            _raise_without_context(damaged(path, "a row of it holds what was never written"))


def _raise_without_context(error: SpavlError) -> None:
    try:
        raise error from None
    finally:
        error.__context__ = None


def _clear(path: Path, error: sqlite3.Error) -> SpavlError | None:
    """The error to raise instead, or None where it is a bug rather than something to fix."""
    match getattr(error, "sqlite_errorcode", None):
        case None:  # from Python's own layer
            if isinstance(error, sqlite3.OperationalError) and str(error).startswith("Could not decode"):
                column = re.match(r"Could not decode to UTF-8 column '(\w+)'", str(error))
                return damaged(path, f"a text in it{f' ({column[1]})' if column else ''} is no UTF-8 any more")
            return None
        case code:
            primary = code & 0xFF
    match primary:
        case sqlite3.SQLITE_FULL:
            return full_disk(path)
        # SQLITE_ERROR: our statements fit our tables, so it is the tables that aren't ours any more.
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR | sqlite3.SQLITE_FORMAT:
            return damaged(path, str(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return BusyError(
                f"{path} has been held by another process for more than {BUSY_SECONDS:.0f} s.",
                "Wait for it to end, or end it; then run again.",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return read_only(path)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN:
            return LedgerError(
                f"{path} can't be read or written: {error}.",
                "It must lie on a local disk with free space, in a folder that this user may write to.",
            )
    return None


def read_only(path: Path) -> LedgerError:
    """The file may be looked at only."""
    return LedgerError(
        f"{path} can't be written: the file, its folder or the disk is read-only for this user.",
        f"Give yourself the right to write to both (`chmod u+w`; {_owner(path)}), or work on a copy of the project.",
    )


def moved(path: Path) -> LedgerError:
    """Another file, or none, lies where the ledger was opened."""
    return LedgerError(
        f"{path} was moved, replaced or deleted while it was open.",
        "Put it back, or leave the one that is there now, and run again: calls that are missing are made again.",
    )


def _owner(path: Path) -> str:
    try:
        return f"they belong to user {os.stat(path).st_uid}"
    except OSError:
        return "as their owner"

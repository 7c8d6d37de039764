"""How a ledger's file is made, opened and checked."""

from __future__ import annotations

import os
import sqlite3
import uuid
from pathlib import Path

from spavl_dag.inference.ledger.errors import BUSY_SECONDS, LedgerError, clear_errors, damaged, full_disk
from spavl_dag.inference.ledger.schema import APPLICATION_ID, GUARDS, LEDGER_SCHEMA, PAGE_BYTES, SCHEMA
from spavl_dag.inference.ledger.wal import check_wal

_SPARE_BYTES = 2**20
"""Room that must be free: SQLite's shared memory dies with the process (SIGBUS) where its file can't get a block."""


def open_file(path: Path, *, read_only: bool) -> tuple[sqlite3.Connection, bool]:
    """Open a ledger, and check that it is one and whole.

    Args:
        path: The file; it and its folder are made where they are missing.
        read_only: Neither make nor change anything.

    Returns:
        The connection, and whether it is for reading only: asked for, or all that this user may do.

    Raises:
        LedgerError: It is damaged, not a ledger, from a newer version, or can't be used.
        BusyError: Another process holds it.
    """
    with clear_errors(path):
        read_only = read_only or not is_writable(path)
        if not read_only:
            _create_if_absent(path)
            require_space(path)
        elif not path.is_file():
            raise LedgerError(f"{path} is not there.", "Give the path of a ledger, such as .spavl/ledger.db.")
        check_wal(path)
        db = _connect(path)
    try:
        with clear_errors(path):
            version = _refuse_unfit(db, path)
            if read_only:
                db.execute("PRAGMA query_only = ON")
            else:
                _bring_up_to_date(db, version)
    except BaseException:
        db.close()
        raise
    return db, read_only


def is_writable(path: Path) -> bool:
    """Whether the file, and others beside it, can be written; True where they are still to be made."""
    return not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def file_id(path: Path) -> tuple[int, int] | None:
    """What tells the file from any other one; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def require_space(path: Path, needed: int = 0) -> None:
    """Make sure that the disk has room before anything is written.

    Args:
        path: The ledger.
        needed: Bytes that will be written.

    Raises:
        LedgerError: It hasn't.
    """
    if not hasattr(os, "statvfs"):
        return
    disk = os.statvfs(path.parent)
    free = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # some blocks are kept for root
    if disk.f_blocks and free * disk.f_frsize < needed + _SPARE_BYTES:
        raise full_disk(path)


def _refuse_unfit(db: sqlite3.Connection, path: Path) -> int:
    """Refuse what isn't a whole ledger; returns its schema's version."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID and path.stat().st_size:
        raise LedgerError(
            f"{path} is not a ledger of this project.",
            "Move the file away, or put the ledger's backup in its place.",
        )
    if application != APPLICATION_ID:
        raise damaged(path, "it is empty")
    if version > LEDGER_SCHEMA:
        raise LedgerError(
            f"{path} was written by a newer spavl-dag: schema {version}, not {LEDGER_SCHEMA}.",
            "Update spavl-dag.",
        )
    # One statement, so that both sides are of the same moment.
    indexed, held = db.execute(
        "SELECT (SELECT first_call + calls - 1 FROM batches ORDER BY id DESC LIMIT 1), (SELECT max(id) FROM calls)"
    ).fetchone()
    if indexed != held:
        raise damaged(path, f"its index ends at row {indexed}, its rows at {held}")
    return int(version)


def _bring_up_to_date(db: sqlite3.Connection, version: int) -> None:
    db.execute("PRAGMA journal_mode = WAL")  # a file that was saved by .recover isn't
    if version < LEDGER_SCHEMA:
        guards = GUARDS.replace("CREATE TRIGGER", "CREATE TRIGGER IF NOT EXISTS")  # two processes may do this at once
        db.executescript(f"BEGIN IMMEDIATE; {guards} PRAGMA user_version = {LEDGER_SCHEMA}; COMMIT;")


def _create_if_absent(path: Path) -> None:
    """Put an empty ledger at `path`, complete or not at all, unless there is a file already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wal = path.with_name(f"{path.name}-wal")
    orphaned = wal.exists()  # asked first: a process that creates the ledger meanwhile makes the .db before its WAL
    if path.exists():
        return
    if orphaned:
        raise LedgerError(
            f"{path} is gone, but {wal.name} beside it holds calls that belong to it.",
            f"Put {path.name} back. Or, if the calls in it aren't wanted any more, move {wal.name} away.",
        )
    require_space(path)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.new")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL, 0o600))  # SQLite gives -wal and -shm the same mode
        _fill(draft)
        if not _is_complete(draft):
            raise full_disk(path)
        _name_unless_taken(draft, path)
    finally:
        for kind in ("", "-journal", "-wal", "-shm"):
            draft.with_name(draft.name + kind).unlink(missing_ok=True)


def _fill(draft: Path) -> None:
    """Write the empty tables. With a rollback journal: what is committed is in the file itself, not in a WAL."""
    db = _connect(draft)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.executescript(
            f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {LEDGER_SCHEMA}; COMMIT;"
        )
        db.execute("PRAGMA journal_mode = WAL")  # from now on; this itself changes two bytes of the file's header
    finally:
        db.close()


def _is_complete(draft: Path) -> bool:
    """Whether the file alone, without journal and WAL, is an empty ledger in WAL mode."""
    with draft.open("rb") as file:
        if file.read(20)[18:] != b"\2\2":
            return False
    db = sqlite3.connect(f"{draft.absolute().as_uri()}?immutable=1", uri=True)
    try:
        (checked,) = db.execute("PRAGMA quick_check").fetchone()
        return bool(checked == "ok" and _refuse_unfit(db, draft) == LEDGER_SCHEMA)
    except (sqlite3.Error, LedgerError):
        return False
    finally:
        db.close()


def _name_unless_taken(draft: Path, path: Path) -> None:
    """Give a finished file its name; one that another process put there meanwhile stays."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            draft.rename(path)
    if os.name == "posix":  # the name itself must survive a power cut
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _connect(path: Path) -> sqlite3.Connection:
    """Connect to an existing file, in autocommit mode and with the settings that hold per connection."""
    how = "mode=rw"
    if not is_writable(path):
        # Without the right to make a -wal file, SQLite reads only a file of which it is told that nobody writes it.
        how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync doesn't reach the platter there
    return db

"""The ledger: every model call that was ever made, in an append-only SQLite file.

An artifact is a projection of the ledger. DVC may delete an artifact at any time; the ledger is what was
paid for. It lies outside the DVC outs (`.spavl/ledger.db`), has mode 0600 since it holds harmful text,
and holds no API keys.

Key
    16 bytes from `spavl_dag.inference.keys`. Not unique: a call that failed for the moment is made again, and
    two processes may race to make the same one. Every attempt is a row. On reading, the first final row
    of a key wins (the lowest id), so what was projected once never changes; without one, the last
    transient row is shown.

Layout
    calls           One row per attempt. Result columns come first and the prompt last: projections skip
                    it.
    batches         One row per append: its run and time, the id of its first row, and the keys and states
                    of all its rows as two blobs. A process reads the blobs (17 bytes a row) into a
                    `KeyIndex` when it first looks for a key, and later only those of new batches. An
                    SQLite index over random keys would rewrite a page per row: slower to append to, and
                    slower to read from a cold disk.
    tallies         Rows, tokens and cost per batch, context and state, so that a summary reads no rows.
    contexts        (artifact, partition, role, profile), which many rows share.
    profiles        JSON of engine, model, revision, system turn and decoding, stored once each.
    calls_readable  A view for people with the sqlite3 shell.
    Texts are TEXT. Those that SQLite's own functions and tools would cut or refuse, with NULs or lone
    surrogates (some decoders emit them), are a BLOB of UTF-8 with "surrogatepass", and come back as the
    same str. Triggers refuse UPDATE and DELETE on every table.

Order of writes, and what a crash leaves
    `append` writes contexts, batch, rows and tallies in one IMMEDIATE transaction, in WAL mode with
    synchronous=FULL: when it returns, the batch is on the disk. Before that, a killed process or a power
    cut leaves nothing of it: the next opening drops the unfinished end of the WAL. A new ledger is built
    under a temporary name, and gets its own only when it is complete; so an empty or short file of that
    name is damage, and refused as such. Calls that were made but not yet appended are lost and made
    again: keep batches small where calls cost money.

Not covered
    Disks that lie about flushing. Network file systems: WAL needs shared memory, keep the ledger on a
    local disk. Copies of the .db file alone while it is open: use `sqlite3 ledger.db ".backup copy.db"`.
    Somebody set on rewriting it: the triggers are against accidents. Hundreds of millions of rows: the
    index is in memory, 24 bytes a row. A `Ledger` belongs to the thread that opened it and doesn't
    survive a fork; others open their own.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from spavl_dag.errors import BusyError, SpavlError
from spavl_dag.inference.key_index import KeyIndex
from spavl_dag.inference.keys import KEY_BYTES
from spavl_dag.states import CallState

LEDGER_SCHEMA = 1
APPLICATION_ID = 0x5350_564C  # "SPVL": tells a ledger from any other SQLite file

_CODES = {
    CallState.OK: 0,
    CallState.REFUSED: 1,
    CallState.UNPARSABLE: 2,
    CallState.PERMANENT_ERROR: 3,
    CallState.TRANSIENT_ERROR: 4,
}
_STATES = {code: state for state, code in _CODES.items()}
_TRANSIENT = _CODES[CallState.TRANSIENT_ERROR]
# Code → 1 for final states, as bytes.translate takes it.
_IS_FINAL = bytes(code in _STATES and _STATES[code].is_final for code in range(256))

_TABLES = ("profiles", "contexts", "batches", "calls", "tallies", "states")
_SCHEMA = f"""
CREATE TABLE profiles (id INTEGER PRIMARY KEY, profile TEXT NOT NULL UNIQUE);
CREATE TABLE contexts (
    id INTEGER PRIMARY KEY, artifact TEXT NOT NULL, partition TEXT, role TEXT NOT NULL,
    profile INTEGER NOT NULL REFERENCES profiles (id)
);
CREATE TABLE batches (
    id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, created_at REAL NOT NULL,
    first_call INTEGER NOT NULL, calls INTEGER NOT NULL, keys BLOB NOT NULL, states BLOB NOT NULL
);
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, batch INTEGER NOT NULL REFERENCES batches (id),
    context INTEGER NOT NULL REFERENCES contexts (id), key BLOB NOT NULL, state INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL,
    finish_reason TEXT NOT NULL, error TEXT, text TEXT NOT NULL, sample_index INTEGER NOT NULL,
    seed INTEGER NOT NULL, image_sha256 TEXT, prompt TEXT NOT NULL
);
CREATE TABLE tallies (
    batch INTEGER NOT NULL REFERENCES batches (id), context INTEGER NOT NULL REFERENCES contexts (id),
    state INTEGER NOT NULL, calls INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, cost_usd REAL NOT NULL
);
CREATE TABLE states (code INTEGER PRIMARY KEY, state TEXT NOT NULL UNIQUE);
INSERT INTO states VALUES {", ".join(f"({code}, '{state}')" for state, code in _CODES.items())};
CREATE VIEW calls_readable AS
    SELECT calls.id, lower(hex(key)) AS key, states.state, artifact, partition, role, text, error, prompt,
        finish_reason, prompt_tokens, completion_tokens, cost_usd,
        datetime(created_at, 'unixepoch') AS created_at, run_id, image_sha256, sample_index, seed,
        profiles.profile
    FROM calls
        JOIN states ON states.code = calls.state
        JOIN batches ON batches.id = calls.batch
        JOIN contexts ON contexts.id = calls.context
        JOIN profiles ON profiles.id = contexts.profile;
""" + "".join(
    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;\n"
    for table in _TABLES
    for verb in ("UPDATE", "DELETE")
)

_INSERT_CALL = f"INSERT INTO calls VALUES ({','.join('?' * 15)})"
_OUTPUT_COLUMNS = "key, state, text, finish_reason, error, prompt_tokens, completion_tokens, cost_usd"
_ROW_COLUMNS = f"{_OUTPUT_COLUMNS}, context, prompt, image_sha256, sample_index, seed, created_at, run_id"

_BUSY_SECONDS = 60.0
_PAGE_BYTES = 16_384  # a row has about 1 kB: fewer, larger pages waste less and append faster than 4 kB ones
_CHUNK = 1_000  # parameters of one query: the fastest of 300 to 30,000


class LedgerError(SpavlError):
    """The ledger can't be opened, read or written."""


@dataclass(frozen=True, slots=True)
class CallRow:
    """One attempt at a model call.

    Attributes:
        key: Ledger key (16 bytes).
        state: How it ended.
        text: What the model wrote ("" on errors).
        finish_reason: "stop", "length" or "error".
        prompt_tokens: Tokens of the prompt, image tokens included.
        completion_tokens: Generated tokens.
        cost_usd: Price of the call.
        error: What went wrong, for the error states.
        artifact: The artifact it was made for.
        partition: That artifact's partition, or None.
        role: "captioner", "judge", …
        profile: JSON of engine, model, revision, system turn and decoding; stored once.
        prompt: Rendered user turn.
        image_sha256: Hex digest of the encoded image, or None.
        sample_index: Number of the sample.
        seed: Seed of the row, signed 64 bit.
        created_at: Unix seconds of its batch; set by the ledger, whatever is given.
        run_id: The run that made it; set by the ledger, whatever is given.
    """

    key: bytes
    state: CallState
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    error: str | None
    artifact: str
    partition: str | None
    role: str
    profile: str
    prompt: str
    image_sha256: str | None
    sample_index: int
    seed: int
    created_at: float = 0.0
    run_id: str = ""


class Output(NamedTuple):
    """What a projection needs of a call; fields as in `CallRow`."""

    state: CallState
    text: str
    finish_reason: str
    error: str | None
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float


class SummaryRow(NamedTuple):
    """Attempts of one artifact, partition and state: how many, and what they took."""

    artifact: str
    partition: str | None
    state: CallState
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float


_T = TypeVar("_T")
_Context = tuple[str, str | None, str, str]  # artifact, partition, role, profile
_context_of = attrgetter("artifact", "partition", "role", "profile")


class Ledger:
    """An open ledger; use it as a context manager, from one thread.

    Args:
        path: The SQLite file; it and its folder are created where they are missing.
        run_id: Who appends; a fresh id where none is given.

    Attributes:
        path: The SQLite file.
        run_id: Written with every batch appended through this object.

    Raises:
        LedgerError: The file is damaged, isn't a ledger, is from a newer version, or can't be used.
        BusyError: Another process holds the file for more than a minute. All methods may raise these two.
    """

    def __init__(self, path: Path, run_id: str | None = None) -> None:
        """Open, and create where there is none."""
        self.path = Path(path)
        self.run_id = run_id or uuid.uuid4().hex
        self._contexts: dict[int, _Context] = {}
        self._context_ids: dict[_Context, int] = {}
        self._index = KeyIndex()
        self._seen = 0  # the last batch in the index
        with self._clear_errors():
            _create_if_absent(self.path)
            self._db = _connect(self.path)
        try:
            self._refuse_unfit_files()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        """Return the ledger itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; the last process to do so folds the WAL into it."""
        self._db.close()

    def append(self, rows: Sequence[CallRow]) -> None:
        """Write a batch: all of it is on the disk when this returns, or none of it is in the ledger.

        Args:
            rows: The attempts, in order; `created_at` and `run_id` are set here.

        Raises:
            LedgerError: The disk is full or failed.
            ValueError: A key isn't 16 bytes long.
        """
        if not rows:
            return
        if bad := next((row for row in rows if len(row.key) != KEY_BYTES), None):
            raise ValueError(f"ledger keys have {KEY_BYTES} bytes, not {len(bad.key)}")
        contexts = [_context_of(row) for row in rows]
        codes = bytes([_CODES[row.state] for row in rows])
        with self._clear_errors(), self._transaction():
            ids = self._ids_of_contexts(set(contexts))
            first = self._last_call() + 1
            batch = self._db.execute(
                "INSERT INTO batches VALUES (NULL, ?, ?, ?, ?, ?, ?)",
                (self.run_id, time.time(), first, len(rows), b"".join([row.key for row in rows]), codes),
            ).lastrowid
            self._db.executemany(
                _INSERT_CALL,
                [
                    (
                        number,
                        batch,
                        ids[context],
                        row.key,
                        code,
                        row.prompt_tokens,
                        row.completion_tokens,
                        row.cost_usd,
                        row.finish_reason,
                        None if row.error is None else _storable(row.error),
                        _storable(row.text),
                        row.sample_index,
                        row.seed,
                        row.image_sha256,
                        _storable(row.prompt),
                    )
                    for number, (row, context, code) in enumerate(zip(rows, contexts, codes, strict=True), first)
                ],
            )
            self._db.executemany(
                "INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (batch, ids[context], code, *sums)
                    for (context, code), sums in _tallies(rows, contexts, codes).items()
                ],
            )
        self._context_ids |= ids  # only now: ids of a transaction that was rolled back are void

    def missing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the keys without a final row: input order, each once."""
        not_final = np.flatnonzero(self._look_up(keys) <= 0).tolist()
        return list(dict.fromkeys([keys[number] for number in not_final]))

    def fetch(self, keys: Sequence[bytes]) -> dict[bytes, CallRow]:
        """Return the row that counts of each key that has any.

        That is the first final one, else the last transient one. In the order of `keys`.
        """
        chosen = self._chosen(keys)
        found = {row.key: row for row in self._call_rows(chosen.values())}
        return self._complete(chosen, found)

    def fetch_outputs(self, keys: Sequence[bytes]) -> dict[bytes, Output]:
        """Return what `fetch` would, with only the columns that projections need, and faster."""
        chosen = self._chosen(keys)
        found = {
            key: Output(_STATES[state], _restored(text), reason, error and _restored(error), *numbers)
            for key, state, text, reason, error, *numbers in self._by_id(_OUTPUT_COLUMNS, chosen.values())
        }
        return self._complete(chosen, found)

    def attempts(self, key: bytes) -> list[CallRow]:
        """Return all rows of a key, oldest first. Reads the whole index: for people, not for loops."""
        with self._clear_errors():
            batches = self._db.execute(
                "SELECT first_call, keys FROM batches WHERE instr(keys, ?) ORDER BY id", (key,)
            ).fetchall()
        ids = [number for first, blob in batches for number, found in enumerate(_split(blob), first) if found == key]
        return list(self._call_rows(ids))

    def summary(self) -> list[SummaryRow]:
        """Return attempts, tokens and cost per artifact, partition and state, in the order of these."""
        query = """
            SELECT artifact, partition, state,
                sum(calls), sum(prompt_tokens), sum(completion_tokens), sum(cost_usd)
            FROM tallies JOIN contexts ON contexts.id = tallies.context
            GROUP BY artifact, partition, state ORDER BY artifact, partition, state
        """
        with self._clear_errors():
            return [SummaryRow(a, p, _STATES[code], *sums) for a, p, code, *sums in self._db.execute(query)]

    def count(self) -> int:
        """Return the number of rows: attempts, not keys."""
        return self._number("SELECT coalesce(sum(calls), 0) FROM batches")

    def calls_of_run(self, run_id: str) -> int:
        """Return the number of rows that a run appended."""
        return self._number("SELECT coalesce(sum(calls), 0) FROM batches WHERE run_id = ?", run_id)

    def repeated_calls(self) -> int:
        """Return the number of keys that were paid for more than once: those with several final rows."""
        seen: set[bytes] = set()
        repeated: set[bytes] = set()
        with self._clear_errors():
            for blob, states in self._db.execute("SELECT keys, states FROM batches"):
                for key in compress(_split(blob), states.translate(_IS_FINAL)):
                    (repeated if key in seen else seen).add(key)
        return len(repeated)

    def _number(self, query: str, *values: str) -> int:
        with self._clear_errors():
            return int(self._db.execute(query, values).fetchone()[0])

    def _last_call(self) -> int:
        """Id of the newest row, 0 where there is none."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM calls").fetchone()[0])

    def _look_up(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """`KeyIndex.look_up`, after reading what this and other processes appended meanwhile."""
        query = "SELECT id, first_call, calls, keys, states FROM batches WHERE id > ? ORDER BY id"
        with self._clear_errors():
            new = self._db.execute(query, (self._seen,)).fetchall()
        if new:
            batches, firsts, sizes, blobs, states = zip(*new, strict=True)
            ranges = (np.arange(start, start + size) for start, size in zip(firsts, sizes, strict=True))
            ids = np.concatenate(list(ranges))
            codes = np.frombuffer(b"".join(states), dtype=np.uint8)
            self._index.add(b"".join(blobs), ids, codes == _TRANSIENT)
            self._seen = batches[-1]
        return self._index.look_up(keys)

    def _chosen(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Key → id of the row that counts, for the keys that have any: input order, each once."""
        ids = np.abs(self._look_up(keys)).tolist()
        return {key: number for key, number in zip(keys, ids, strict=True) if number}

    def _complete(self, chosen: dict[bytes, int], found: dict[bytes, _T]) -> dict[bytes, _T]:
        """The found rows in the order of `chosen`."""
        try:
            return {key: found[key] for key in chosen}
        except KeyError:
            raise _damaged(self.path, "rows that its index names are missing") from None

    def _call_rows(self, ids: Iterable[int]) -> Iterator[CallRow]:
        """Whole rows, in the order of ids."""
        for found in self._by_id(_ROW_COLUMNS, ids, "JOIN batches ON batches.id = calls.batch"):
            key, state, text, reason, error, prompt_tokens, completion_tokens, cost = found[:8]
            context, prompt, image, sample, seed, created_at, run_id = found[8:]
            yield CallRow(
                key,
                _STATES[state],
                _restored(text),
                reason,
                prompt_tokens,
                completion_tokens,
                cost,
                error and _restored(error),
                *self._context(context),
                _restored(prompt),
                image,
                sample,
                seed,
                created_at,
                run_id,
            )

    def _by_id(self, columns: str, ids: Iterable[int], join: str = "") -> Iterator[tuple[Any, ...]]:
        """Columns of the calls with these ids, in the order of ids."""
        remaining = sorted(ids)
        with self._clear_errors():
            for start in range(0, len(remaining), _CHUNK):
                chunk = remaining[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                yield from self._db.execute(
                    f"SELECT {columns} FROM calls {join} WHERE calls.id IN ({marks}) ORDER BY calls.id", chunk
                )

    def _context(self, number: int) -> _Context:
        if number not in self._contexts:  # another process may have added some since
            query = """
                SELECT contexts.id, artifact, partition, role, profiles.profile
                FROM contexts JOIN profiles ON profiles.id = contexts.profile
            """
            self._contexts = {
                found: (artifact, partition, role, _restored(profile))
                for found, artifact, partition, role, profile in self._db.execute(query)
            }
        return self._contexts[number]

    def _ids_of_contexts(self, contexts: Iterable[_Context]) -> dict[_Context, int]:
        """Ids of contexts, inserted where they are new; to be called within a transaction."""
        ids = {}
        for context in contexts:
            if context in self._context_ids:
                ids[context] = self._context_ids[context]
                continue
            artifact, partition, role, profile = context
            stored = _storable(profile)
            self._db.execute("INSERT OR IGNORE INTO profiles (profile) VALUES (?)", (stored,))
            (profile_id,) = self._db.execute("SELECT id FROM profiles WHERE profile = ?", (stored,)).fetchone()
            values = (artifact, partition, role, profile_id)
            found = self._db.execute(
                "SELECT id FROM contexts WHERE artifact = ? AND partition IS ? AND role = ? AND profile = ?",
                values,
            ).fetchone()
            if found is None:
                insert = "INSERT INTO contexts VALUES (NULL, ?, ?, ?, ?) RETURNING id"
                found = self._db.execute(insert, values).fetchone()
            ids[context] = int(found[0])
        return ids

    def _refuse_unfit_files(self) -> None:
        with self._clear_errors():
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID and self.path.stat().st_size:
                raise LedgerError(
                    f"{self.path} is not a ledger of this project.",
                    "Move the file away, or put the ledger's backup in its place.",
                )
            if application != APPLICATION_ID:
                raise _damaged(self.path, "it is empty")
            if version > LEDGER_SCHEMA:
                raise LedgerError(
                    f"{self.path} was written by a newer spavl-dag: schema {version}, not {LEDGER_SCHEMA}.",
                    "Update spavl-dag.",
                )
            # One statement, so that both sides are of the same moment.
            indexed, stored = self._db.execute(
                "SELECT (SELECT first_call + calls - 1 FROM batches ORDER BY id DESC LIMIT 1), "
                "(SELECT max(id) FROM calls)"
            ).fetchone()
            if indexed != stored:
                raise _damaged(self.path, f"its index ends at row {indexed}, its rows at {stored}")
            self._db.execute("PRAGMA journal_mode = WAL")  # a file that was saved by .recover isn't

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")  # the write lock at once: a reader that turns writer can't wait for it
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite has rolled back by itself after some errors, such as a full disk
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Turn SQLite's and the system's errors into ones that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            fixable = _mendable(self.path, error)
            if fixable is None:
                raise
            raise fixable from error
        except OSError as error:
            raise LedgerError(
                f"{self.path} can't be opened: {error.strerror or error}.",
                "Check the folder's permissions and the free space on its disk.",
            ) from error


def _damaged(path: Path, detail: str) -> LedgerError:
    return LedgerError(
        f"{path} is damaged: {detail}.",
        "Keep a copy of it and of its -wal file. Then put a backup in its place, or save what can be read: "
        f'`sqlite3 "{path}" .recover | sqlite3 recovered.db` (the shell from sqlite.org; some of '
        "the distributions' lack .recover), and put recovered.db there. Calls that are lost are made again.",
    )


def _mendable(path: Path, error: sqlite3.Error) -> SpavlError | None:
    """The error to raise instead, or None where it is a bug rather than something to fix."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the primary code; Python's own layer raises without one
        case sqlite3.SQLITE_FULL:
            return LedgerError(
                f"{path} can't grow: the disk is full. Nothing of this batch was written, the rest is safe.",
                "Free some space and run the same command again: it goes on with the calls that are missing.",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(path, str(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return BusyError(
                f"{path} has been held by another process for more than {_BUSY_SECONDS:.0f} s.",
                "Wait for it to end, or end it; then run again.",
            )
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return LedgerError(
                f"{path} can't be read or written: {error}.",
                "It must lie on a local disk with free space, in a folder that this user may write to.",
            )
    return None


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
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}.new")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL, 0o600))  # SQLite gives -wal and -shm the same mode
        db = _connect(draft)
        try:
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {LEDGER_SCHEMA}; COMMIT;"
            )
        finally:
            db.close()
        _name_unless_taken(draft, path)
    finally:
        draft.unlink(missing_ok=True)


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
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # macOS: a plain fsync doesn't reach the platter there
    return db


def _tallies(
    rows: Sequence[CallRow], contexts: Sequence[_Context], codes: bytes
) -> dict[tuple[_Context, int], list[Any]]:
    """(context, state) → rows, prompt tokens, completion tokens and cost."""
    sums: dict[tuple[_Context, int], list[Any]] = {}
    for row, group in zip(rows, zip(contexts, codes, strict=True), strict=True):
        tally = sums.setdefault(group, [0, 0, 0, 0.0])
        tally[0] += 1
        tally[1] += row.prompt_tokens
        tally[2] += row.completion_tokens
        tally[3] += row.cost_usd
    return sums


def _split(blob: bytes) -> tuple[bytes, ...]:
    """Keys of a batch."""
    return struct.unpack(f"{KEY_BYTES}s" * (len(blob) // KEY_BYTES), blob)


def _storable(text: str) -> str | bytes:
    """Return the text itself, or its bytes where it holds NULs or lone surrogates."""
    if "\0" not in text:
        if text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError:
            pass
        else:
            return text
    return text.encode("utf-8", "surrogatepass")


def _restored(stored: str | bytes) -> str:
    """Return the text that `_storable` was given."""
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogatepass")

"""Writing and reading an open ledger; what it is and what it promises stands in the package's docstring.

Over 400 lines, for all of it works on one connection under one lock.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from spavl_dag.inference.keys import KEY_BYTES
from spavl_dag.inference.ledger.errors import clear_errors, clear_rows, damaged, moved, read_only
from spavl_dag.inference.ledger.key_index import KeyIndex
from spavl_dag.inference.ledger.opening import file_id, open_file, require_space
from spavl_dag.inference.ledger.rows import (
    CallRow,
    Context,
    RateRow,
    SummaryRow,
    context_of,
    restored,
    split_keys,
    storable,
    tallies,
)
from spavl_dag.inference.ledger.schema import CODES, HAS_TEXT, IS_FINAL, STATES
from spavl_dag.inference.request import Generation
from spavl_dag.progress import Progress, no_progress

if TYPE_CHECKING:
    from spavl_dag.inference.ledger.merging import Merged

_INSERT_CALL = f"INSERT OR ROLLBACK INTO calls VALUES ({','.join('?' * 15)})"
_GENERATION_COLUMNS = "key, state, text, finish_reason, prompt_tokens, completion_tokens, cost_usd, error"
_ROW_BYTES = 1_024  # a usual row; larger ones run into SQLite's own check
_CHUNK = 1_000  # parameters of one query: the fastest of 300 to 30,000

_T = TypeVar("_T")


def _generation(
    key: bytes,
    state: int,
    text: str | bytes,
    finish_reason: str,
    prompt_tokens: int,
    completion_tokens: int,
    cost_usd: float,
    error: str | bytes | None,
) -> Generation:
    return Generation(
        key,
        STATES[state],
        restored(text),
        finish_reason,
        prompt_tokens,
        completion_tokens,
        cost_usd,
        None if error is None else restored(error),
    )


def _flags(zeros_and_ones: bytes) -> npt.NDArray[np.bool_]:
    return np.frombuffer(zeros_and_ones, dtype=np.bool_)


class Ledger:
    """An open ledger; use it as a context manager, from one thread.

    Args:
        path: The SQLite file; it and its folder are created where they are missing.
        run_id: Who appends; a fresh id where none is given.
        read_only: Only look: nothing is created, changed or appended. Where this user may not write, it is always so.

    Attributes:
        path: The SQLite file.
        run_id: Written with every batch appended through this object.
        read_only: Whether it can't be appended to.

    Raises:
        LedgerError: The file is damaged, isn't a ledger, is from a newer version, or can't be used.
        BusyError: Another process holds the file for more than a minute. All methods may raise these two.
    """

    def __init__(self, path: Path, run_id: str | None = None, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.run_id = run_id or uuid.uuid4().hex
        self._contexts: dict[int, Context] = {}
        self._context_ids: dict[Context, int] = {}
        self._index = KeyIndex()
        self._seen = 0  # the last batch in the index
        self._db, self.read_only = open_file(self.path, read_only=read_only)
        self._file = file_id(self.path)

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
            LedgerError: The disk is full or failed, or the file may only be read.
            ValueError: A key isn't 16 bytes long.
        """
        if not rows:
            return
        if bad := next((row for row in rows if len(row.key) != KEY_BYTES), None):
            raise ValueError(f"ledger keys have {KEY_BYTES} bytes, not {len(bad.key)}")
        with self.transaction(len(rows)):
            self.write(rows, self.run_id, time.time())

    @contextmanager
    def transaction(self, rows: int) -> Iterator[None]:
        """What is written within is on the disk afterwards, or, when an error is raised, none of it.

        Args:
            rows: How many will be written.
        """
        if self.read_only:
            raise read_only(self.path)
        if file_id(self.path) != self._file:  # SQLite would go on writing to a file that nobody finds again
            raise moved(self.path)
        known = dict(self._context_ids)
        with clear_errors(self.path):
            require_space(self.path, rows * _ROW_BYTES)
            self._db.execute("BEGIN IMMEDIATE")  # at once: a reader that turns writer can't wait for the lock
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._context_ids = known  # ids of a transaction that was rolled back are void
                if self._db.in_transaction:  # SQLite has rolled back by itself after some errors, such as a full disk
                    self._db.execute("ROLLBACK")
                raise

    def write(self, rows: Sequence[CallRow], run_id: str, created_at: float) -> None:
        """Write a batch of any run; to be called within a transaction.

        Args:
            rows: The attempts, in order.
            run_id: The run that made them.
            created_at: Unix seconds.
        """
        contexts = [context_of(row) for row in rows]
        ids = {context: self._id_of_context(context) for context in dict.fromkeys(contexts)}
        shared = [ids[context] for context in contexts]
        codes = bytes([CODES[row.state] for row in rows])
        first = self._last_call() + 1
        batch = self._db.execute(
            "INSERT INTO batches VALUES (NULL, ?, ?, ?, ?, ?, ?)",
            (run_id, created_at, first, len(rows), b"".join([row.key for row in rows]), codes),
        ).lastrowid
        self._db.executemany(
            _INSERT_CALL,
            [
                (
                    number,
                    batch,
                    context,
                    row.key,
                    code,
                    row.prompt_tokens,
                    row.completion_tokens,
                    row.cost_usd,
                    row.finish_reason,
                    None if row.error is None else storable(row.error),
                    storable(row.text),
                    row.sample_index,
                    row.seed,
                    row.image_sha256,
                    storable(row.prompt),
                )
                for number, (row, context, code) in enumerate(zip(rows, shared, codes, strict=True), first)
            ],
        )
        self._db.executemany(
            "INSERT INTO tallies VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(batch, *sums) for sums in tallies(rows, shared, codes)],
        )

    def missing(self, keys: Sequence[bytes], *, retry_failed: bool = False) -> list[bytes]:
        """Return the keys that are to be asked: input order, each once.

        Args:
            keys: What is wanted.
            retry_failed: Whether final errors are to be asked again too; else only keys without a final row.
        """
        _, has_text, is_final = self._look_up(keys)
        wanted = np.flatnonzero(~(has_text if retry_failed else is_final)).tolist()
        return list(dict.fromkeys([keys[number] for number in wanted]))

    def fetch(self, keys: Sequence[bytes]) -> dict[bytes, CallRow]:
        """Return the row that counts of each key that has any.

        That is the first one with a text, else the last error. In the order of `keys`.
        """
        chosen = self._chosen(keys)
        found = {row.key: row for row in self.rows(chosen.values())}
        return self._complete(chosen, found)

    def fetch_outputs(self, keys: Sequence[bytes]) -> dict[bytes, Generation]:
        """Return what `fetch` would, with only the columns that projections need, and faster."""
        chosen = self._chosen(keys)
        with clear_rows(self.path):
            found = {columns[0]: _generation(*columns) for columns in self._by_id(_GENERATION_COLUMNS, chosen.values())}
        return self._complete(chosen, found)

    def attempts(self, key: bytes) -> list[CallRow]:
        """Return all rows of a key, oldest first. Reads the whole index: for people, not for loops."""
        with clear_rows(self.path):
            batches = self._db.execute(
                "SELECT first_call, keys FROM batches WHERE instr(keys, ?) ORDER BY id", (key,)
            ).fetchall()
            ids = [
                number
                for first, blob in batches
                for number, found in enumerate(split_keys(blob), first)
                if found == key
            ]
        return self.rows(ids)

    def keys_beginning(self, digits: str) -> list[bytes]:
        """Return the keys that begin so in hexadecimal, each once. Reads the whole index: for people, not for loops."""
        with clear_rows(self.path):
            blobs = self._db.execute("SELECT keys FROM batches ORDER BY id")
            found = {key: None for (blob,) in blobs for key in split_keys(blob) if key.hex().startswith(digits)}
        return list(found)

    def summary(self) -> list[SummaryRow]:
        """Return attempts, tokens and cost per artifact, partition and state, in the order of these."""
        query = """
            SELECT artifact, partition, state,
                sum(calls), sum(prompt_tokens), sum(completion_tokens), sum(cost_usd)
            FROM tallies JOIN contexts ON contexts.id = tallies.context
            GROUP BY artifact, partition, state ORDER BY artifact, partition, state
        """
        with clear_rows(self.path):
            return [SummaryRow(a, p, STATES[code], *sums) for a, p, code, *sums in self._db.execute(query)]

    def rates(self) -> list[RateRow]:
        """Return what calls took so far, per role; times are those between the batches of a run."""
        query = """
            WITH timed AS (
                SELECT id, calls, created_at - lag(created_at) OVER (PARTITION BY run_id ORDER BY id) AS seconds
                FROM batches
            )
            SELECT role, sum(tallies.calls), sum(prompt_tokens), sum(completion_tokens), sum(cost_usd),
                coalesce(sum(iif(seconds IS NULL, 0, tallies.calls)), 0),
                coalesce(sum(seconds * tallies.calls / timed.calls), 0.0)
            FROM tallies
                JOIN contexts ON contexts.id = tallies.context
                JOIN timed ON timed.id = tallies.batch
            GROUP BY role ORDER BY role
        """
        with clear_rows(self.path):
            return [RateRow(*columns) for columns in self._db.execute(query)]

    def count(self) -> int:
        """Return the number of rows: attempts, not keys."""
        return self._number("SELECT coalesce(sum(calls), 0) FROM batches")

    def calls_of_run(self, run_id: str) -> int:
        """Return the number of rows that a run appended."""
        return self._number("SELECT coalesce(sum(calls), 0) FROM batches WHERE run_id = ?", run_id)

    def repeated_calls(self) -> int:
        """Return the number of keys that were paid for more than once: those with several texts."""
        seen: set[bytes] = set()
        repeated: set[bytes] = set()
        with clear_rows(self.path):
            for blob, states in self._db.execute("SELECT keys, states FROM batches"):
                for key in compress(split_keys(blob), states.translate(HAS_TEXT)):
                    (repeated if key in seen else seen).add(key)
        return len(repeated)

    def batches(self, after: int = 0) -> Iterator[tuple[int, str, float, int, int, bytes, bytes]]:
        """Yield the columns of table `batches`, oldest first, of batches with an id above `after`."""
        with clear_errors(self.path):
            yield from self._db.execute("SELECT * FROM batches WHERE id > ? ORDER BY id", (after,))

    def merge(self, files: Sequence[Path], progress: Progress = no_progress) -> list[Merged]:
        """Append what other ledgers hold and this one lacks; see `merging.merge`."""
        from spavl_dag.inference.ledger.merging import merge

        return merge(self, files, progress)

    def _number(self, query: str, *values: str) -> int:
        with clear_rows(self.path):
            return int(self._db.execute(query, values).fetchone()[0])

    def _last_call(self) -> int:
        """Id of the newest row, 0 where there is none."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM calls").fetchone()[0])

    def _look_up(
        self, keys: Sequence[bytes]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """`KeyIndex.look_up`, after reading what this and other processes appended meanwhile."""
        query = "SELECT id, first_call, calls, keys, states FROM batches WHERE id > ? ORDER BY id"
        with clear_rows(self.path):
            new = self._db.execute(query, (self._seen,)).fetchall()
            if new:
                batches, firsts, sizes, blobs, states = zip(*new, strict=True)
                if any(len(k) != n * KEY_BYTES or len(s) != n for n, k, s in zip(sizes, blobs, states, strict=True)):
                    raise damaged(self.path, "its index doesn't fit its rows")
                ranges = (np.arange(start, start + size) for start, size in zip(firsts, sizes, strict=True))
                ids = np.concatenate(list(ranges))
                codes = b"".join(states)
                has_text, is_final = (_flags(codes.translate(table)) for table in (HAS_TEXT, IS_FINAL))
                self._index.add(b"".join(blobs), ids, has_text, is_final)
                self._seen = batches[-1]
        return self._index.look_up(keys)

    def _chosen(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Key → id of the row that counts, for the keys that have any: input order, each once."""
        ids = self._look_up(keys)[0].tolist()
        return {key: number for key, number in zip(keys, ids, strict=True) if number}

    def _complete(self, chosen: dict[bytes, int], found: dict[bytes, _T]) -> dict[bytes, _T]:
        """The found rows in the order of `chosen`."""
        try:
            return {key: found[key] for key in chosen}
        except KeyError:
            raise damaged(self.path, "rows that its index names are missing") from None

    def rows(self, ids: Iterable[int]) -> list[CallRow]:
        """Return the rows with these ids, in the order of ids."""
        columns = f"{_GENERATION_COLUMNS}, context, prompt, image_sha256, sample_index, seed, created_at, run_id"
        with clear_rows(self.path):
            return [
                self._row(*values) for values in self._by_id(columns, ids, "JOIN batches ON batches.id = calls.batch")
            ]

    def _row(self, *values: Any) -> CallRow:
        key, state, text, reason, prompt_tokens, completion_tokens, cost, error = values[:8]
        context, prompt, image, sample, seed, created_at, run_id = values[8:]
        return CallRow(
            key,
            STATES[state],
            restored(text),
            reason,
            prompt_tokens,
            completion_tokens,
            cost,
            None if error is None else restored(error),
            *self._context(context),
            restored(prompt),
            image,
            sample,
            seed,
            created_at,
            run_id,
        )

    def _by_id(self, columns: str, ids: Iterable[int], join: str = "") -> Iterator[tuple[Any, ...]]:
        """Columns of the calls with these ids, in the order of ids."""
        remaining = sorted(ids)
        for start in range(0, len(remaining), _CHUNK):
            chunk = remaining[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            yield from self._db.execute(
                f"SELECT {columns} FROM calls {join} WHERE calls.id IN ({marks}) ORDER BY calls.id", chunk
            ).fetchall()

    def _context(self, number: int) -> Context:
        if number not in self._contexts:  # another process may have added some since
            query = """
                SELECT contexts.id, artifact, partition, role, profiles.profile
                FROM contexts JOIN profiles ON profiles.id = contexts.profile
            """
            self._contexts = {
                found: (artifact, partition, role, restored(profile))
                for found, artifact, partition, role, profile in self._db.execute(query)
            }
        return self._contexts[number]

    def _id_of_context(self, context: Context) -> int:
        """Id of a context, inserted where it is new; to be called within a transaction."""
        if context in self._context_ids:
            return self._context_ids[context]
        artifact, partition, role, profile = context
        profile_id = self._id("profiles", "profile = ?", (storable(profile),), "(profile) VALUES (?)")
        number = self._id(
            "contexts",
            "artifact = ? AND partition IS ? AND role = ? AND profile = ?",
            (artifact, partition, role, profile_id),
            "(artifact, partition, role, profile) VALUES (?, ?, ?, ?)",
        )
        self._context_ids[context] = number
        return number

    def _id(self, table: str, condition: str, values: tuple[Any, ...], insert: str) -> int:
        found = self._db.execute(f"SELECT id FROM {table} WHERE {condition}", values).fetchone()
        if found is None:
            found = self._db.execute(f"INSERT INTO {table} {insert} RETURNING id", values).fetchone()
        return int(found[0])

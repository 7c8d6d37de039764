"""Is the write-ahead log whole? SQLite takes a cut or damaged one for the trace of a crash and drops its end silently.

A WAL is a row of frames, each a page with a checksum over all frames before it; a commit is a mark on its last frame.
The shared memory file (-shm) beside it notes how many frames are committed. It is written after the WAL was synced, so
it never notes more than the disk has, and it outlives the process. The formats are stable and documented:
https://www.sqlite.org/fileformat.html#the_write_ahead_log and https://www.sqlite.org/walformat.html.
"""

from __future__ import annotations

import logging
import struct
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from spavl_dag.inference.ledger.errors import LedgerError

_LOG = logging.getLogger(__name__)
_HEADER = 32
_FRAME_HEADER = 24

_Words = npt.NDArray[np.uint32]
_Sum = tuple[int, int]


class _Noted(NamedTuple):
    """What the shared memory says: committed frames, frames that are in the database file too, the WAL's salts."""

    frames: int
    copied: int
    salts: bytes


class _Found(NamedTuple):
    """What a WAL holds: committed frames up to the first bad one, whether anything of it follows, its salts."""

    committed: int
    goes_on: bool
    salts: bytes


def check_wal(path: Path) -> None:
    """Compare a ledger's WAL with what is noted of it; to be called before SQLite opens them.

    Args:
        path: The ledger's file.

    Raises:
        LedgerError: Committed calls would be lost. Nothing was changed.
        OSError: The files can't be read.
    """
    wal, shm = (path.with_name(f"{path.name}-{kind}") for kind in ("wal", "shm"))
    before, found, noted = _noted(shm), _found(wal), _noted(shm)
    if before is None or noted is None or noted.salts != before.salts:
        # Nothing is noted; or another process is at work, which has the WAL in hand.
        if before is noted is None and found is not None and found.goes_on:
            _LOG.warning(
                "%s ends in a batch that isn't complete; it is dropped. After a kill or a power cut nothing else is "
                "missing, and its calls are made again. If the file was copied or cut, put the whole one back first.",
                wal,
            )
        return
    if found is not None and found.salts != before.salts:  # the note is of an earlier WAL
        return
    committed = before.copied if found is None else found.committed
    if committed < before.frames:
        raise LedgerError(
            f"{wal} was cut or damaged: {before.frames} pages were committed, {found.committed if found else 0} can be "
            "read. Opening the ledger now would lose the calls in the others.",
            f"Put the whole {wal.name} back. Or, to make those calls again, delete {shm.name} and run again.",
        )


def _noted(shm: Path) -> _Noted | None:
    """What a shared memory file says; None where there is none or it isn't filled in."""
    try:
        with shm.open("rb") as file:
            content = file.read(100)
    except FileNotFoundError:
        return None
    # Two copies of the header, in this machine's byte order; they differ while one is being written.
    if len(content) < 100 or content[:48] != content[48:96] or not content[12]:
        return None
    (frames,) = struct.unpack_from("=I", content, 16)
    (copied,) = struct.unpack_from("=I", content, 96)
    return _Noted(frames, copied, content[32:40])


def _found(wal: Path) -> _Found | None:
    """Read a WAL; None where there is none, or none that SQLite would read."""
    try:
        file = wal.open("rb")
    except FileNotFoundError:
        return None
    with file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return None
        magic, _, page_bytes = struct.unpack_from(">3I", header)
        order = ">u4" if magic & 1 else "<u4"
        checksum = _checksum(np.frombuffer(header[:24], order), (0, 0))
        if magic & ~1 != 0x377F0682 or checksum != struct.unpack_from(">2I", header, 24):
            return None
        salts = header[16:24]
        whole = committed = 0
        while len(frame := file.read(_FRAME_HEADER + page_bytes)) == _FRAME_HEADER + page_bytes:
            words = np.frombuffer(frame[:8] + frame[_FRAME_HEADER:], order)
            checksum = _checksum(words, checksum)
            if frame[8:16] != salts or checksum != struct.unpack_from(">2I", frame, 16):
                break
            whole += 1
            if frame[4:8] != bytes(4):
                committed = whole
        # Behind the end there can be frames of an earlier WAL, with other salts.
        goes_on = whole > committed or (0 < len(frame) < 16) or frame[8:16] == salts
        return _Found(committed, goes_on, salts)


def _checksum(words: _Words, before: _Sum) -> _Sum:
    """SQLite's checksum of words, going on from the one before: for each two words a and b, s += a + t, t += b + s.

    Such a step is one of the Fibonacci numbers, so both sums are the words weighed with them, modulo 2^32.
    """
    terms = np.concatenate([np.array([before[1], 0], np.uint32), words[1:].astype(np.uint32)])
    terms[1] = (before[0] + int(words[0])) & 0xFFFFFFFF
    weights = _fibonacci(len(terms))
    return int(weights[1:] @ terms), int(weights[:-1] @ terms)


@lru_cache(maxsize=8)
def _fibonacci(count: int) -> _Words:
    """F(count) down to F(0), modulo 2^32."""
    numbers = [0, 1]
    while len(numbers) <= count:
        numbers.append((numbers[-1] + numbers[-2]) & 0xFFFFFFFF)
    return np.array(numbers[::-1], np.uint32)

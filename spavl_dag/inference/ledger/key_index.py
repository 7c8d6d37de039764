"""An index from keys to the rows that count, in memory: 24 bytes a key, a million looked up in half a second.

Sorted arrays instead of a dict, which would take 200 bytes a key and miss the processor's cache at every
step. New keys become a level of their own; levels of similar size are merged, so that adding often stays
cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from spavl_dag.inference.keys import KEY_BYTES

_Ids = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]
_Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Level:
    """Rows sorted by the first half of their key; among equal ones by id."""

    first: _Words
    second: _Words
    ids: _Ids  # twice the id; negative for errors, and then odd for final ones

    @classmethod
    def of(cls, first: _Words, second: _Words, ids: _Ids) -> Self:
        """Sort rows, which come in the order of their ids."""
        order = np.argsort(first, kind="stable")
        return cls(first[order], second[order], ids[order])

    def merged(self, newer: _Level) -> _Level:
        """Both as one."""
        return _Level.of(
            np.concatenate([self.first, newer.first]),
            np.concatenate([self.second, newer.second]),
            np.concatenate([self.ids, newer.ids]),
        )

    def look_up(self, first: _Words, second: _Words, found: _Ids) -> None:
        """Improve `found` in place; entries above 0 are settled."""
        place = np.searchsorted(self.first, first)
        open_ = np.flatnonzero(found <= 0)
        # Each round looks at one row per open key: usually one round, more for keys with several attempts.
        while open_.size:
            open_ = open_[place[open_] < len(self.first)]
            open_ = open_[self.first[place[open_]] == first[open_]]
            hit = open_[self.second[place[open_]] == second[open_]]
            found[hit] = self.ids[place[hit]]  # a later error replaces an earlier one
            open_ = open_[found[open_] <= 0]
            place[open_] += 1


class KeyIndex:
    """Which row counts for a key: its first one with a text, else its last error."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []

    def add(self, keys: bytes, ids: _Ids, has_text: _Flags, is_final: _Flags) -> None:
        """Add rows, newer than all that were added before.

        Args:
            keys: Their keys, one after the other (16 bytes each).
            ids: Their ids, ascending, from 1 (shape: rows).
            has_text: Whether a text came back (shape: rows).
            is_final: Whether they aren't asked again by themselves (shape: rows).
        """
        encoded = np.where(has_text, 2 * ids, -2 * ids - (is_final & ~has_text))
        self._levels.append(_Level.of(*_words(keys), encoded))
        while len(self._levels) > 1 and len(self._levels[-2].ids) <= 2 * len(self._levels[-1].ids):
            newer = self._levels.pop()
            self._levels.append(self._levels.pop().merged(newer))

    def look_up(self, keys: Sequence[bytes]) -> tuple[_Ids, _Flags, _Flags]:
        """Which row counts for each key.

        Returns:
            Ids, 0 where there is none; whether the row has a text; whether it is final (shape of each: keys).

        Raises:
            ValueError: A key isn't 16 bytes long.
        """
        joined = b"".join(keys)
        if len(joined) != KEY_BYTES * len(keys):
            raise ValueError(f"ledger keys have {KEY_BYTES} bytes")
        first, second = _words(joined)
        order = np.argsort(first)  # neighbours in the arrays are asked for one after the other
        first, second = first[order], second[order]
        found = np.zeros(len(keys), dtype=np.int64)
        for level in self._levels:  # oldest first: the first row with a text settles a key
            level.look_up(first, second, found)
        result = np.empty_like(found)
        result[order] = found
        return np.abs(result) // 2, result > 0, (result > 0) | (result % 2 == 1)


def _words(keys: bytes) -> tuple[_Words, _Words]:
    """Both halves of each key as integers; any byte order does, as long as it is the same for all."""
    words = np.frombuffer(keys, dtype="<u8").reshape(-1, 2)
    return np.ascontiguousarray(words[:, 0]), np.ascontiguousarray(words[:, 1])

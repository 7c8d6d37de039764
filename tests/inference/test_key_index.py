import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spavl_dag.inference.ledger.key_index import KeyIndex

# Few distinct halves, so that keys share the first half, the second half, or both.
keys = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda pair: b"".join(n.to_bytes(8) for n in pair))
batches = st.lists(st.lists(st.tuples(keys, st.booleans()), min_size=1, max_size=9), max_size=9)


@given(batches, st.lists(keys, max_size=20))
def test_it_finds_what_a_scan_finds(batches: list[list[tuple[bytes, bool]]], asked: list[bytes]) -> None:
    index, rows = KeyIndex(), []
    for batch in batches:
        ids = np.arange(len(rows) + 1, len(rows) + 1 + len(batch))
        index.add(b"".join(key for key, _ in batch), ids, np.array([transient for _, transient in batch]))
        rows += batch
        assert index.look_up(asked).tolist() == [scan(rows, key) for key in asked]


def scan(rows: list[tuple[bytes, bool]], key: bytes) -> int:
    final = [number for number, (found, transient) in enumerate(rows, 1) if found == key and not transient]
    transient = [number for number, (found, transient) in enumerate(rows, 1) if found == key and transient]
    return final[0] if final else -transient[-1] if transient else 0


def test_adding_one_by_one_keeps_few_levels() -> None:
    index, rng = KeyIndex(), random.Random(0)
    stored = [rng.randbytes(16) for _ in range(2_000)]
    for number, key in enumerate(stored, 1):
        index.add(key, np.array([number]), np.array([False]))
    assert len(index._levels) <= 11  # log2(2000)
    assert index.look_up(stored).tolist() == list(range(1, 2_001))


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        KeyIndex().look_up([b"short"])

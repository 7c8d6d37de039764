import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spavl_dag.inference.ledger.key_index import KeyIndex

# Few distinct halves, so that keys share the first half, the second half, or both.
keys = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(lambda pair: b"".join(n.to_bytes(8) for n in pair))
states = st.sampled_from(["text", "permanent", "transient"])
batches = st.lists(st.lists(st.tuples(keys, states), min_size=1, max_size=9), max_size=9)


@given(batches, st.lists(keys, max_size=20))
def test_it_finds_what_a_scan_finds(batches: list[list[tuple[bytes, str]]], asked: list[bytes]) -> None:
    index, rows = KeyIndex(), []
    for batch in batches:
        ids = np.arange(len(rows) + 1, len(rows) + 1 + len(batch))
        text, final = (np.array([state in known for _, state in batch]) for known in (["text"], ["text", "permanent"]))
        index.add(b"".join(key for key, _ in batch), ids, text, final)
        rows += batch
        found = zip(*(column.tolist() for column in index.look_up(asked)), strict=True)
        assert list(found) == [scan(rows, key) for key in asked]


def scan(rows: list[tuple[bytes, str]], key: bytes) -> tuple[int, bool, bool]:
    of_key = [(number, state) for number, (found, state) in enumerate(rows, 1) if found == key]
    texts = [number for number, state in of_key if state == "text"]
    if texts:
        return texts[0], True, True
    number, state = of_key[-1] if of_key else (0, "none")
    return number, False, state == "permanent"


def test_adding_one_by_one_keeps_few_levels() -> None:
    index, rng = KeyIndex(), random.Random(0)
    stored = [rng.randbytes(16) for _ in range(2_000)]
    for number, key in enumerate(stored, 1):
        index.add(key, np.array([number]), np.array([True]), np.array([True]))
    assert len(index._levels) <= 11  # log2(2000)
    assert index.look_up(stored)[0].tolist() == list(range(1, 2_001))


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        KeyIndex().look_up([b"short"])

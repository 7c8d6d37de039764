"""Batches: formed from the set of requests, alike in kind and length."""

from __future__ import annotations

import random

from tiny_llava import picture, request

from spavl_dag.inference.engines.batching import plan_batches, prompt_length


def test_batches_depend_on_the_requests_only_and_never_mix_kinds() -> None:
    image = picture(1)
    rows = [request("word1 " * (n % 7 + 1), image=image if n % 2 else None, seed=n) for n in range(50)]
    batches = list(plan_batches(rows, 8))
    shuffled = random.Random(0).sample(rows, len(rows))
    assert list(plan_batches(shuffled, 8)) == batches
    assert sorted(row.key for batch in batches for row in batch) == sorted(row.key for row in rows)
    assert all(len(batch) <= 8 for batch in batches)
    assert all(len({len(row.images) for row in batch}) == 1 for batch in batches)
    for kind in (True, False):
        lengths = [prompt_length(row) for batch in batches for row in batch if (not row.images) is kind]
        assert lengths == sorted(lengths)


def test_no_requests_no_batches() -> None:
    assert list(plan_batches([], 4)) == []

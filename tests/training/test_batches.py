from __future__ import annotations

import pytest

from spavl_dag.errors import ParamsError
from spavl_dag.training.batches import split_batch


@pytest.mark.parametrize(
    ("batch", "per_device", "processes", "expected"),
    [(8, 8, 1, (8, 1)), (8, 2, 1, (2, 4)), (8, 2, 2, (2, 2)), (4, 16, 1, (4, 1)), (8, 100, 8, (1, 1))],
)
def test_a_batch_is_spread_evenly(batch: int, per_device: int, processes: int, expected: tuple[int, int]) -> None:
    size, passes = split_batch(batch, per_device, processes)
    assert (size, passes) == expected
    assert size * passes * processes == batch


@pytest.mark.parametrize(("batch", "per_device", "processes"), [(8, 3, 1), (8, 8, 3), (2, 1, 4)])
def test_what_cannot_be_spread_is_an_error(batch: int, per_device: int, processes: int) -> None:
    with pytest.raises(ParamsError, match=f"optimizer.batch_size {batch}"):
        split_batch(batch, per_device, processes)

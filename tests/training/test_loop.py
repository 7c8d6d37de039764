"""Order of rows, schedule and seeds of the loops of our own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from spavl_dag.params.training import OptimizerParams
from spavl_dag.training.loop import RowOrder, count_steps, draw_seed, make_optimizer


def optimizer(**changes: Any) -> OptimizerParams:
    values: dict[str, Any] = {"learning_rate": 1.0, "schedule": "cosine", "warmup_steps": 2, "batch_size": 4}
    return OptimizerParams(**(values | {"epochs": 1, "max_length": 8} | changes))


def test_each_epoch_has_every_row_once() -> None:
    order = RowOrder(10, 7)
    flat = [index for step in range(5) for index in order.batch(step, 4)]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]
    # A step can be asked for at any time: a resumed training begins in the middle.
    assert RowOrder(10, 7).batch(3, 4) == flat[12:16]
    assert RowOrder(10, 8).batch(0, 4) != flat[:4]


def test_steps_cover_all_epochs() -> None:
    assert count_steps(10, optimizer(epochs=1)) == 3
    assert count_steps(10, optimizer(epochs=2)) == 5
    assert count_steps(10, optimizer(epochs=0.1)) == 1


def test_seeds_differ() -> None:
    seeds = {draw_seed(seed, step, row) for seed in range(5) for step in range(20) for row in range(20)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert draw_seed(1, 23) != draw_seed(12, 3)


@pytest.mark.parametrize("warmup", [2, 0.2])
def test_schedule_and_decay(warmup: float) -> None:
    layer = nn.Linear(3, 3)
    frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
    params = optimizer(warmup_steps=warmup, weight_decay=0.5)
    adamw, schedule = make_optimizer(
        [([*layer.parameters(), frozen], 1.0), ([nn.Parameter(torch.ones(1))], 0.5)], params, 10
    )
    assert [(len(group["params"]), group["weight_decay"]) for group in adamw.param_groups] == [(1, 0.5), (1, 0), (1, 0)]
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr())
        adamw.step()
        schedule.step()
    assert [rate[0] for rate in rates[:3]] == [0.0, 0.5, 1.0]
    assert rates[6][0] == pytest.approx(0.5)
    assert all(rate[2] == pytest.approx(rate[0] / 2) for rate in rates)

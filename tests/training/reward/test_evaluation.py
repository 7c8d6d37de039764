"""Held-out numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spavl_dag.stats import wilson_interval
from spavl_dag.training.reward.evaluation import calibration_bins, calibration_error, measure_pairs, pair_table


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_numbers_by_hand() -> None:
    pairs = pair_table(["c", "a", "b", "d"], [2.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0])
    assert pairs["row_id"].to_list() == ["a", "b", "c", "d"]
    assert pairs["margin"].to_list() == [1.0, -1.0, 2.0, 0.0]
    metrics = measure_pairs(pairs, seed=1).metrics
    assert metrics["accuracy"] == 0.5  # equal rewards aren't right
    assert (metrics["accuracy_low"], metrics["accuracy_high"]) == wilson_interval(2, 4)
    assert metrics["margin"] == 0.5
    assert metrics["margin_low"] <= 0.5 <= metrics["margin_high"]
    wanted = sum(math.log1p(math.exp(-margin)) for margin in (1.0, -1.0, 2.0, 0.0)) / 4
    assert metrics["log_loss"] == pytest.approx(wanted)
    assert measure_pairs(pairs, seed=1).metrics == metrics


def test_calibration_by_hand() -> None:
    margins = np.array([logit(0.72)] * 3 + [-logit(0.72)] + [logit(0.999), 800.0, 0.0])
    bins = calibration_bins(margins)
    assert bins["n"].to_list() == [1, 0, 0, 0, 4, 0, 0, 0, 0, 2]
    middle = bins.row(4, named=True)
    assert middle["confidence"] == pytest.approx(0.72)
    assert middle["accuracy"] == 0.75
    assert (middle["low"], middle["high"]) == (pytest.approx(0.7), pytest.approx(0.75))
    assert bins.row(1, named=True)["accuracy"] is None
    wanted = (1 * 0.5 + 4 * 0.03 + 2 * (1 - (0.999 + 1.0) / 2)) / 7
    assert calibration_error(bins) == pytest.approx(wanted, abs=1e-9)


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=50))
def test_every_pair_is_in_its_bin(margins: list[float]) -> None:
    bins = calibration_bins(np.array(margins))
    assert bins["n"].sum() == len(margins)
    for row in bins.filter(pl.col("n") > 0).iter_rows(named=True):
        assert row["low"] - 1e-9 <= row["confidence"] <= row["high"] + 1e-9
    assert 0.0 <= calibration_error(bins) <= 1.0

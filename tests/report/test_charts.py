"""Scales and curves of charts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spavl_dag.report.charts import Axis, Line, Point, line_chart, log_ticks, thinned, ticks

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda value: round(value, 6))


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_ticks_enclose_all_values_in_equal_steps(values: list[float]) -> None:
    found = ticks(values)
    step = found[1] - found[0]
    assert found[0] <= min(values) + 1e-6 * step
    assert found[-1] >= max(values) - 1e-6 * step
    assert 2 <= len(found) <= 9
    assert all(b - a == pytest.approx(step, rel=1e-3) for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.44], [0, 0.1, 0.2, 0.3, 0.4, 0.5]), ([0.0], [-1, -0.5, 0, 0.5, 1]), ([-30, 10], [-30, -20, -10, 0, 10])],
)
def test_ticks_are_round(values: list[float], expected: list[float]) -> None:
    assert ticks(values) == expected


def test_log_ticks() -> None:
    assert log_ticks([25, 2000]) == [10, 100, 1000, 10_000]
    assert log_ticks([100, 100]) == [100, 1000]


def test_curves_are_thinned_to_means() -> None:
    curve = [(float(step), float(step % 2)) for step in range(1, 1001)]
    points = thinned(curve)
    assert len(points) <= 120
    assert points[-1].x == 1000
    assert all(0.4 < point.y < 0.6 for point in points[:-1])
    assert thinned([(1.0, 2.0)]) == (Point(1.0, 2.0),)


def test_a_flat_line_of_one_point_is_drawn() -> None:
    svg = line_chart(
        "n", "t", "d", [Line("l", (Point(3, 0.5),), 0)], Axis("x", "{:g}".format), Axis("y", "{:g}".format)
    )
    assert "nan" not in svg
    assert svg.count("<circle") == 1

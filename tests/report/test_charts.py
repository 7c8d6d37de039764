"""Charts: every number is drawn, texts are only texts, and an SVG is fit to stand in a page."""

from __future__ import annotations

import re
import warnings

import pytest

from spavl_dag.charts import THEME, draw_calibration, new_figure, to_png, to_svg
from spavl_dag.report.figures import Effect, Line, Point, curve_chart, forest_plot, line_sample, scale_chart, thinned

EFFECTS = (Effect("a", -0.1, -0.2, 0.0, "better"), Effect("a label that is long indeed", 0.05, -0.1, 0.2, None))


def texts(svg: str) -> list[str]:
    """What is written in a chart."""
    return re.findall(r"<text[^>]*>(.*?)</text>", svg)


def test_forest_plot_names_every_row() -> None:
    svg = forest_plot("forest", "Unsafe rate", EFFECTS)
    assert texts(svg)[-2:] == ["a", "a label that is lon\u2026"]
    assert "+10" in texts(svg)
    assert "\u221210" in texts(svg)
    assert '<desc id="forest-description">a \u221210.0 (\u221220.0 to +0.0); a label that is long indeed' in svg


def test_an_svg_is_fit_for_a_page() -> None:
    first, second = forest_plot("one", "t", EFFECTS), forest_plot("two", "t", EFFECTS)
    ids = re.findall(r' id="([^"]+)"', first + second)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r' href="#([^"]+)"', first)) <= set(re.findall(r' id="([^"]+)"', first))
    for outside in ("url(", "http", "<style", "<metadata", "xmlns", "font-family"):
        assert outside not in first
    colors = set(re.findall(r"#[0-9a-f]{6}", first))
    assert not colors, "the page's colours, by name, in light and dark"
    assert "var(--good)" in first
    assert len(set(THEME.values())) == len(THEME), "or one would be taken for another"


def test_the_same_numbers_give_the_same_bytes() -> None:
    first = forest_plot("one", "t", EFFECTS)
    forest_plot.cache_clear()
    assert forest_plot("one", "t", EFFECTS) == first
    assert line_sample("a", 1) != line_sample("a", 7)


@pytest.mark.parametrize("label", ["$\\frac{$", "a $b$ c", "<script>&", "caf\u00e9 \u4e2d\u6587 \u202e", "100 %"])
def test_labels_are_no_formulas_and_no_markup(label: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = forest_plot("x", label, (Effect(label, 0.1, 0.0, 0.2, None),))
    assert "<script" not in svg
    assert texts(svg)[-1] == label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace(
        " \u202e", ""
    )


def test_labels_of_pictures_are_no_formulas() -> None:
    figure, axes = new_figure(2, 1)
    axes.barh(["$\\frac{$"], [1])
    assert to_png(figure, "$\\frac{$", "$").startswith(b"\x89PNG")


@pytest.mark.parametrize("sizes", [(3.0,), (25.0, 50.0, 100.0), (200.0, 900.0), (25.0, 90_000.0)])
def test_training_pairs_have_ticks(sizes: tuple[float, ...]) -> None:
    line = Line("l", tuple(Point(size, 0.5, 0.4, 0.6) for size in sizes), 0)
    svg = scale_chart("n", "t", (line,))
    assert "nan" not in svg
    assert [text for text in texts(svg) if re.fullmatch(r"\d+k?", text)]


def test_a_curve_of_one_point_is_drawn() -> None:
    assert "nan" not in curve_chart("n", "t", (Line("l", (Point(3, 0.5),), 0, markers=False),))


def test_calibration_has_the_pairs_of_each_point() -> None:
    figure, axes = new_figure(5, 3)
    bins = [{"n": 12, "confidence": 0.6, "accuracy": 0.5}, {"n": 0, "confidence": None, "accuracy": None}]
    draw_calibration(axes, bins)
    assert [text for text in texts(to_svg(figure, "c")) if text in ("12", "0")] == ["12"]


def test_curves_are_thinned_to_means() -> None:
    curve = [(float(step), float(step % 2)) for step in range(1, 1001)]
    points = thinned(curve)
    assert len(points) <= 120
    assert points[-1].x == 1000
    assert all(0.4 < point.y < 0.6 for point in points[:-1])
    assert thinned([(1.0, 2.0)]) == (Point(1.0, 2.0),)

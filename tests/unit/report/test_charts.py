"""Charts: what is drawn stands where the axes say, and is bounded."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganray.report.amounts import duration, number, scaled
from ganray.report.axes import Axis, axis_over
from ganray.report.charts import (
    MOST_POINTS,
    SIDE,
    Mark,
    Series,
    Stage,
    histogram,
    line_chart,
    on_stages,
    scatter,
)
from ganray.report.footprints import MOST_POLYGONS, Outline, footprint_map

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


def points_of(path: str) -> np.ndarray:
    """The points of a path, as shares of the axes."""
    found = np.array(
        [[float(a), float(b)] for a, b in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]
    )
    return np.stack([found[:, 0] / SIDE, 1 - found[:, 1] / SIDE])


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_an_axis_holds_all_values_and_a_few_ticks_in_order(values: list[float]) -> None:
    axis = axis_over("x", values)
    places = axis.places(values)
    assert (places >= -1e-6).all() and (places <= 1 + 1e-6).all()
    ticks = [tick.place for tick in axis.ticks]
    assert 2 <= len(ticks) <= 12 and ticks == sorted(ticks)
    assert ticks[0] >= -1e-6 and ticks[-1] <= 1 + 1e-6


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_a_logarithmic_axis_holds_all_values_and_has_ticks(values: list[float]) -> None:
    axis = axis_over("x", values, log=True)
    places = axis.places(values)
    assert (places >= 0).all() and (places <= 1).all()
    assert 1 <= len(axis.ticks) <= 12
    assert all(-1e-6 <= tick.place <= 1 + 1e-6 for tick in axis.ticks)


def test_the_texts_of_ticks_are_where_they_say() -> None:
    axis = axis_over("x", [0.0, 0.3])
    for tick in axis.ticks:
        assert axis.places([float(tick.text)])[0] == pytest.approx(tick.place)


@pytest.mark.parametrize("values", [[], [np.nan], [np.inf], [3.0, 3.0], [0.0]])
def test_an_axis_of_nothing_or_of_one_value_has_a_length(values: list[float]) -> None:
    axis = axis_over("x", values)
    assert axis.high > axis.low


def test_a_line_goes_through_its_points_and_breaks_at_gaps() -> None:
    chart = line_chart("t", ("x", "y"), [Series("a", [0, 1, 2, 3], [0.0, 10.0, np.nan, 5.0])])
    (line,) = chart.shapes
    assert line.path.count("M") == 2
    np.testing.assert_allclose(points_of(line.path)[1], [0, 1, 0.5], atol=1e-3)


def test_a_long_line_is_bounded_and_keeps_its_extremes() -> None:
    y = np.sin(np.arange(1_000_000) / 50_000)
    y[123_456], y[654_321] = 9.0, -7.0
    chart = line_chart("t", ("x", "y"), [Series("a", np.arange(y.size), y)])
    drawn = points_of(chart.shapes[0].path)
    assert drawn.shape[1] <= MOST_POINTS
    assert drawn[1].max() == pytest.approx(chart.y.places(9.0), abs=1e-3)
    assert drawn[1].min() == pytest.approx(chart.y.places(-7.0), abs=1e-3)


def test_marks_and_legend_are_there_for_several_lines() -> None:
    both = [Series("a", [0, 1], [0, 1]), Series("b", [0, 1], [1, 0])]
    chart = line_chart("t", ("x", "y"), both, [Mark(0.5, "rollback")])
    assert [name for name, _ in chart.legend] == ["a", "b"]
    assert [shape.text for shape in chart.shapes if shape.kind == "mark"] == ["rollback"]
    assert not line_chart("t", ("x", "y"), both[:1]).legend


def test_the_bars_of_a_histogram_are_as_high_as_their_counts() -> None:
    chart = histogram("t", "x", [0, 1, 2, 3], [5, 0, 10])
    heights = [1 - float(re.search(r"V([\d.]+)H", s.path)[1]) / SIDE for s in chart.shapes]
    np.testing.assert_allclose(heights, chart.y.places([5, 10]), atol=1e-3)
    assert "15 in all" in chart.description


def test_a_scatter_is_bounded_and_shows_every_group() -> None:
    rng = np.random.default_rng(0)
    many = [Series(str(n), rng.random(40_000), rng.random(40_000)) for n in range(3)]
    chart = scatter("t", ("x", "y"), many)
    assert sum(shape.path.count("M") for shape in chart.shapes) < 2200
    assert all(shape.path for shape in chart.shapes)


def test_a_map_holds_its_footprints_and_bounds_their_number() -> None:
    ring = [[10.0, 45.0], [12.0, 45.0], [12.0, 46.0], [10.0, 46.0], [10.0, 45.0]]
    outline = Outline({"type": "Polygon", "coordinates": [ring]}, "scene")
    drawn = footprint_map("m", [outline] * (MOST_POLYGONS + 10))
    assert len(drawn.outlines) == MOST_POLYGONS
    places = points_of(drawn.outlines[0].path)
    assert places.min() > 0 and places.max() < 1
    assert all(tick.text.endswith(("°E", "°W", "°")) for tick in drawn.longitudes)


def test_footprints_on_both_sides_of_the_date_line_make_the_whole_world_the_map() -> None:
    def square(west: float) -> list[list[list[float]]]:
        return [[[west, 10.0], [west + 5, 10.0], [west + 5, 12.0], [west, 10.0]]]

    geometry = {"type": "MultiPolygon", "coordinates": [square(175), square(-180)]}
    drawn = footprint_map("m", [Outline(geometry, "pacific")])
    assert drawn.outlines[0].path.count("M") == 2
    places = points_of(drawn.outlines[0].path)[0]
    assert places.max() == pytest.approx(1) and places.min() == pytest.approx(0)


def test_numbers_are_short_and_say_their_size() -> None:
    assert number(1234567) == "1,234,567"
    assert number(0.012345) == "0.0123"
    assert number(0.0000123) == "1.23·10⁻⁵"
    assert number(float("nan")) == "–"
    assert scaled(12_345_678, "pixel") == "12.3 Mpixel"
    assert duration(4.21) == "4.2 s" and duration(7325) == "2 h 02 min"
    assert duration(59.7) == "60 s" or duration(59.7) == "1 min 00 s"


def test_stages_are_shaded_beneath_the_lines_and_named_where_there_is_room() -> None:
    chart = line_chart("t", (Axis("step", 0, 100), "loss"), [Series("a", [0, 50], [1, 2])])
    stages = (Stage("long", 0, 60), Stage("short", 60, 65), Stage("later", 100, 200))
    shaded = on_stages(chart, stages)
    assert [shape.kind for shape in shaded.shapes] == ["stage", "stage", "line"]
    assert shaded.shapes[1].path == "M600.0 0H650.0V1000H600.0Z"
    assert [heading.text for heading in shaded.headings] == ["long"]


def test_labels_of_marks_keep_apart_and_their_lines_stay() -> None:
    marks = [Mark(x, f"event {x}", str(x)) for x in (50, 51, 90)]
    chart = line_chart("t", (Axis("step", 0, 100), "loss"), [Series("a", [0, 1], [1, 2])], marks)
    assert [label.text for label in chart.labels] == ["50", "90"]
    assert sum(shape.kind == "mark" for shape in chart.shapes) == 3


def test_ticks_of_a_small_step_are_told_apart() -> None:
    texts = [tick.text for tick in Axis("dB", 28.25, 29.5).ticks]
    assert len(set(texts)) == len(texts) and "28.75" in texts

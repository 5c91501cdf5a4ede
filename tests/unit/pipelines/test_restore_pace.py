"""What a report shows of a run's speed: what was left when, and on how many nodes."""

import numpy as np
import pyarrow as pa

from ganray.pipelines.node_watch import NodeCount
from ganray.pipelines.restore_findings import Findings, Scope
from ganray.pipelines.restore_pace import Crew, pace_section
from ganray.pipelines.summary import InputCounts, Summary
from ganray.report.charts import Chart, Charts

BEGAN = 1000.0
SECONDS = 48.0
NUM_ROWS = 96


def findings() -> Findings:
    """Two inputs a second, one of them failed."""
    found = Findings(Scope("run", "g", "c", BEGAN, BEGAN + SECONDS, 0, 0))
    moments = BEGAN + np.arange(NUM_ROWS) / 2
    pixels = np.where(np.arange(NUM_ROWS) % 2, 0, 1_000_000)
    found._add_pace(pa.table({"recorded_at": moments, "input_pixels": pixels}))
    return found


def charts(nodes: tuple[NodeCount, ...], pending: int = 0) -> dict[str, Chart]:
    inputs = InputCounts(NUM_ROWS + pending, NUM_ROWS // 2, 0, NUM_ROWS // 2, pending)
    summary = Summary("run", inputs, seconds=SECONDS, input_pixels=48_000_000)
    (section,) = pace_section(findings(), summary, Crew(2, nodes))
    (part,) = section.parts
    assert isinstance(part, Charts)
    return {chart.title: chart for chart in part.charts}


def test_the_rate_is_in_megapixels_a_second() -> None:
    assert "1 at first, 1 at last" in charts(())["Restored input pixels per second"].description


def test_what_is_left_goes_down_to_what_the_run_left() -> None:
    left = charts((), pending=4)["Inputs still to be done"]
    assert "100 at first, 4 at last" in left.description
    assert left.y.low == 0


def test_nodes_are_steps_over_the_time_of_the_run() -> None:
    came = NodeCount(BEGAN, 0), NodeCount(BEGAN + 12, 3), NodeCount(BEGAN + 36, 1)
    nodes = charts(came)["Nodes that can hold a worker"]
    assert "0 at first, 1 at last, between 0 and 3" in nodes.description
    (line,) = (shape for shape in nodes.shapes if shape.kind == "line")
    # Up at a quarter of the width, down at three quarters, on to its end.
    assert line.path.count("L250.0 ") == 2 and line.path.count("L750.0 ") == 2
    assert "L1000.0 " in line.path


def test_a_cluster_that_stayed_as_it_was_is_not_drawn() -> None:
    assert "Nodes that can hold a worker" not in charts((NodeCount(BEGAN, 1),))

"""How fast a restoration went, and on how many nodes: that part of its report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ganray.pipelines.node_watch import NodeCount
from ganray.pipelines.restore_findings import TIME_BINS, Findings
from ganray.pipelines.summary import Summary
from ganray.report.amounts import counted, scaled
from ganray.report.axes import Axis, axis_over
from ganray.report.charts import Chart, Charts, Series, line_chart
from ganray.report.page import Section

INPUTS_PER_BIN = 3
TIME_UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))


@dataclass(frozen=True)
class Crew:
    """Who restored: workers at most, 0 for the driver's own process, and the cluster's nodes as
    they came and went."""

    num_workers: int
    nodes: Sequence[NodeCount] = ()


def pace_section(findings: Findings, summary: Summary, crew: Crew) -> Iterator[Section]:
    """The section of throughput, what was left to do, and nodes; none where lines say nothing."""
    num_bins = _num_bins(summary.inputs.restored)
    if not findings.pixels.any() or not num_bins:
        return
    unit, length = next(
        (name, size) for name, size in TIME_UNITS if summary.seconds >= 3 * size or size == 1
    )
    time = Axis(f"{unit} since the start", 0.0, summary.seconds / length)
    charts = (
        _throughput(findings, time, num_bins, length),
        _left(findings, summary, time),
        *_nodes(findings, crew.nodes, time, length),
    )
    yield Section(
        "Throughput",
        (Charts(charts),),
        lead=f"{scaled(summary.input_pixels / summary.seconds, 'pixel/s')} on average, by "
        f"{counted(max(1, crew.num_workers), 'worker')}. An input counts when it is recorded, a "
        "large one all at once.",
    )


def _throughput(findings: Findings, time: Axis, num_bins: int, length: int) -> Chart:
    each = time.high / num_bins
    pixels = findings.pixels.reshape(num_bins, -1).sum(1)
    rate = pixels / (each * length) / 1e6
    labels = time, axis_over("Mpixel/s", rate, zero=True)
    series = Series("input pixels", (np.arange(num_bins) + 0.5) * each, rate)
    return line_chart("Restored input pixels per second", labels, [series])


def _left(findings: Findings, summary: Summary, time: Axis) -> Chart:
    done = np.concatenate([[0.0], np.cumsum(findings.inputs)])
    left = summary.inputs.pending + done[-1] - done
    moments = np.linspace(0.0, time.high, TIME_BINS + 1)
    labels = time, axis_over("inputs", left, zero=True)
    return line_chart("Inputs still to be done", labels, [Series("inputs", moments, left)])


def _nodes(
    findings: Findings, nodes: Sequence[NodeCount], time: Axis, length: int
) -> Iterator[Chart]:
    """The nodes over time, as steps; nothing of a cluster that stayed as it was."""
    if len(nodes) < 2:
        return
    since = np.clip([(n.since - findings.scope.began) / length for n in nodes], 0.0, time.high)
    moments = np.append(np.repeat(since, 2)[1:], time.high)
    numbers = np.repeat([n.number for n in nodes], 2)
    labels = time, axis_over("nodes", numbers, zero=True)
    yield line_chart("Nodes that can hold a worker", labels, [Series("nodes", moments, numbers)])


def _num_bins(num_inputs: int) -> int:
    """So few that most hold some inputs; none where a line would say nothing."""
    return max(
        (n for n in (TIME_BINS, 24, 16, 12, 8) if n * INPUTS_PER_BIN <= num_inputs), default=0
    )

"""Nodes of a fake cloud that come, are lost and go, under a restoration whose device is a clock.

    python tests/benchmarks/bench_autoscaling.py [FOLDER] [--autoscaler v1]

Nodes are real raylets of this machine, started by Ray's own autoscaler: the second, that of
KubeRay, or the first, that of `ray up`. The generator sleeps, so that cores are not the limit. One
node is killed and one drained once all are at work. Prints a line a second, and writes two pages:
the timeline until no node is left, and the report of the restoration itself.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402

from ganray.report.charts import Chart, Charts, Mark, Series, line_chart  # noqa: E402
from ganray.report.page import Figure, Page, Section, render_page  # noqa: E402
from tests.integration.cloud_restoration import read_lines, start_restoration  # noqa: E402
from tests.integration.fake_cloud import (  # noqa: E402
    AUTOSCALERS,
    FakeCloud,
    fake_cloud,
    gpu_nodes,
)
from tests.integration.ray_head import end_family  # noqa: E402

NUM_INPUTS = 240
SECONDS_PER_INPUT = 1.0
MAX_NODES = 3
NOTICE_SECONDS = 6.0
RECENT_SECONDS = 4
"""Who is at work, and how fast all are, is counted over so many seconds."""


@dataclass
class Timeline:
    """One look a second: nodes, workers at an order, inputs that wait, inputs a second."""

    begin: float = field(default_factory=time.time)
    seconds: list[float] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    queue: list[int] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    events: list[Mark] = field(default_factory=list)

    def look(self, cloud: FakeCloud, notes: Path) -> None:
        now = time.time()
        lines = read_lines(notes)
        recent = [line for line in lines if line["end"] > now - RECENT_SECONDS]
        self.seconds.append(now - self.begin)
        self.nodes.append(len(cloud.nodes()))
        self.busy.append(len({line["node"] for line in recent}))
        self.queue.append(NUM_INPUTS - len({line["key"] for line in lines}))
        # Over as many looks, a second apart: notes come a moment late.
        before = max(0, len(self.queue) - 1 - RECENT_SECONDS)
        passed = self.seconds[-1] - self.seconds[before] or 1.0
        self.rate.append((self.queue[before] - self.queue[-1]) / passed)
        print(
            f"{self.seconds[-1]:6.1f} s  nodes {self.nodes[-1]}  at work {self.busy[-1]}  "
            f"queue {self.queue[-1]:3}  {self.rate[-1]:.2f} inputs/s",
            flush=True,
        )

    def note(self, text: str) -> None:
        self.events.append(Mark(time.time() - self.begin, text))
        print(f"{time.time() - self.begin:6.1f} s  {text}", flush=True)


def main(output: Path, autoscaler: str) -> None:
    output.mkdir(parents=True, exist_ok=True)
    nodes = gpu_nodes(MAX_NODES)
    with tempfile.TemporaryDirectory() as folder, fake_cloud(nodes, autoscaler) as cloud:
        timeline, notes = Timeline(), Path(folder) / "notes"
        driver = start_restoration(
            cloud,
            Path(folder),
            num_inputs=NUM_INPUTS,
            seconds=SECONDS_PER_INPUT,
            max_workers=MAX_NODES,
        )
        try:
            disturb(cloud, timeline, driver, notes=notes)
        finally:
            if driver.poll() is None:
                end_family(psutil.Process(driver.pid))
        timeline.note(f"the run ended, exit code {driver.returncode}")
        while cloud.nodes():
            time.sleep(1)
            timeline.look(cloud, notes)
        timeline.note("no node is left")
        page = as_page(timeline, read_lines(notes))
        (report,) = Path(folder).glob("restored/_ganray/runs/*/report.html")
        shutil.copy(report, output / "restoration.html")
    (output / "autoscaling.html").write_text(render_page(page))
    print(f"wrote autoscaling.html and restoration.html to {output}")


def disturb(
    cloud: FakeCloud, timeline: Timeline, driver: subprocess.Popen[str], *, notes: Path
) -> None:
    """Watch the run to its end; kill a node, and take another away with notice."""
    drained, gone_at = "", 0.0
    while driver.poll() is None:
        time.sleep(1)
        timeline.look(cloud, notes)
        nodes = cloud.nodes()
        if not drained and timeline.busy[-1] == len(nodes) == MAX_NODES:
            killed, drained, *_ = sorted(nodes)
            nodes[killed].kill()
            timeline.note("a node is killed")
            cloud.drain(drained, seconds=round(NOTICE_SECONDS))
            gone_at = time.time() + NOTICE_SECONDS
            timeline.note("a node is drained")
        if gone_at and time.time() > gone_at and drained in nodes:
            nodes[drained].kill()
            timeline.note("the drained node is taken away")


def as_page(timeline: Timeline, lines: list[dict]) -> Page:
    charts = Charts(
        (
            chart("Nodes", "nodes", timeline, {"there": timeline.nodes, "at work": timeline.busy}),
            chart("Queue", "inputs", timeline, {"waiting": timeline.queue}),
            chart("Throughput", "inputs per second", timeline, {"restored": timeline.rate}),
        )
    )
    return Page(
        kind="Benchmark",
        title="A restoration on an autoscaling cluster",
        subtitle=f"{NUM_INPUTS} inputs of {SECONDS_PER_INPUT:g} s, at most {MAX_NODES} nodes",
        figures=(
            Figure(f"{timeline.events[-2].x:.0f} s", "until the run ended"),
            Figure(f"{NUM_INPUTS * SECONDS_PER_INPUT / MAX_NODES:.0f} s", "of work for all nodes"),
            Figure(str(len(lines) - NUM_INPUTS), "inputs done again"),
        ),
        sections=(Section("Timeline", (charts,)),),
    )


def chart(title: str, label: str, timeline: Timeline, lines: dict[str, list]) -> Chart:
    series = [Series(name, timeline.seconds, values) for name, values in lines.items()]
    return line_chart(title, ("seconds", label), series, timeline.events)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=Path("."))
    parser.add_argument("--autoscaler", choices=AUTOSCALERS, default="v2")
    arguments = parser.parse_args()
    main(arguments.output, arguments.autoscaler)

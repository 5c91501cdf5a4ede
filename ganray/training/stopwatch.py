"""How fast a training goes, and where its time goes: data, both players, penalty, communication.

On CUDA the marks are events of the stream, read at the next report, so that measuring does not
make the host wait for the device.
"""

import time
from typing import Literal

import torch

Part = Literal["data", "generator", "discriminator", "penalty", "communication", "other"]


class Stopwatch:
    """Time passes for one part at a time; `enter` names the next."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._seconds: dict[str, float] = {}
        self._marks: list[tuple[Part, torch.cuda.Event]] = []
        self._part: Part = "other"
        self._begin = time.perf_counter()
        self.enter("other")

    def enter(self, part: Part) -> None:
        """What happens from now on is `part`."""
        if self.device.type == "cuda":
            mark = torch.cuda.Event(enable_timing=True)
            mark.record(torch.cuda.current_stream(self.device))
            self._marks.append((part, mark))
            return
        now = time.perf_counter()
        self._add(self._part, now - self._begin)
        self._part, self._begin = part, now

    def shares(self) -> dict[str, float]:
        """The share of each part since the last call, under `time_` and its name."""
        self.enter("other")
        if self._marks:
            self._read_marks()
        total = sum(self._seconds.values())
        shares = {f"time_{part}": value / total for part, value in self._seconds.items() if total}
        self._seconds = {}
        return shares

    def _read_marks(self) -> None:
        self._marks[-1][1].synchronize()
        for (part, begin), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            self._add(part, begin.elapsed_time(end) / 1000)
        self._marks = self._marks[-1:]

    def _add(self, part: Part, seconds: float) -> None:
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds


class Throughput:
    """Steps per second, from one question to the next."""

    def __init__(self, step: int) -> None:
        self._step, self._time = step, time.perf_counter()

    def steps_per_second(self, step: int) -> float:
        """The rate since the last call, or since the start."""
        last_step, last_time = self._step, self._time
        self._step, self._time = step, time.perf_counter()
        return (step - last_step) / (self._time - last_time)

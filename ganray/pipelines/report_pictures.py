"""Strips and footprints for a report, made by processes that end when the time is up."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

from ganray.codecs.catalog import Codecs
from ganray.codecs.isolation import IsolatedProcess
from ganray.errors import GanrayError
from ganray.report.footprints import Outline
from ganray.report.pictures import Missing, Strip
from ganray.report.showing import Bounds, Pair, find_outlines, show_pair

P = ParamSpec("P")
T = TypeVar("T")

PAGE_BYTES = 11 << 20
"""Of all pictures of a page together, less than `page.MAX_BYTES`."""
MOST_STRIP_BYTES = 3 << 19
MOST_PROCESSES = 4
OUTLINES_AT_ONCE = 10
SHARE_OF_ONE = 1 / 3
"""Of the time for all: a decoder that hangs takes no more, and ends that much late at most."""


class OutOfTimeError(GanrayError):
    """The time for pictures is up."""


@dataclass(frozen=True)
class Reading:
    """How long may be read for a report, and what decoding one picture may take."""

    codecs: Codecs
    seconds: float
    memory_bytes: int
    max_pixels: int


@dataclass(frozen=True)
class Pictures:
    """What was read in time: a strip for each pair, in their order, and outlines."""

    strips: list[Strip] = field(default_factory=list)
    outlines: list[Outline] = field(default_factory=list)


def read_pictures(
    pairs: Sequence[Pair], uri: str, tiffs: Sequence[str], reading: Reading
) -> Pictures:
    """Make the strip of every pair, and find the outlines of `tiffs` in the store of `uri`.

    Nothing raises for what cannot be shown: its strip says why, an outline is left out.
    """
    num_processes = min(MOST_PROCESSES, os.cpu_count() or 1, len(pairs) + bool(tiffs))
    if not num_processes:
        return Pictures()
    crew = _Crew(num_processes, reading)
    max_bytes = min(MOST_STRIP_BYTES, PAGE_BYTES // max(1, len(pairs)))
    bounds = Bounds(reading.max_pixels, max_bytes)
    try:
        with ThreadPoolExecutor(num_processes) as pool:
            strips = pool.map(lambda pair: _strip(crew, pair, bounds), pairs)
            found = pool.map(lambda keys: _outlines(crew, uri, keys), _groups(tiffs))
            return Pictures(list(strips), [outline for group in found for outline in group])
    finally:
        crew.close()


class _Crew:
    """Processes that take calls until a time is up."""

    def __init__(self, num_processes: int, reading: Reading) -> None:
        self.codecs = reading.codecs
        self._deadline = time.monotonic() + reading.seconds
        self._all = [
            IsolatedProcess(
                seconds=reading.seconds * SHARE_OF_ONE, memory_bytes=reading.memory_bytes
            )
            for _ in range(num_processes)
        ]
        self._idle: SimpleQueue[IsolatedProcess] = SimpleQueue()
        for process in self._all:
            self._idle.put(process)

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, from whichever process is idle.

        Raises its GanrayErrors, and OutOfTimeError.
        """
        process = self._idle.get()
        try:
            if time.monotonic() > self._deadline:
                raise OutOfTimeError("not read: the time for pictures was up (report.seconds)")
            return process.call(function, *args, **kwargs)
        finally:
            self._idle.put(process)

    def close(self) -> None:
        for process in self._all:
            process.close()


def _strip(crew: _Crew, pair: Pair, bounds: Bounds) -> Strip:
    try:
        return crew.call(show_pair, pair, crew.codecs, bounds)
    except GanrayError as error:
        return Strip(
            pair.key, 1, 1, (), notes=pair.notes, missing=(Missing("Not shown", str(error)),)
        )


def _outlines(crew: _Crew, uri: str, keys: Sequence[str]) -> list[Outline]:
    try:
        return crew.call(find_outlines, uri, keys, crew.codecs)
    except GanrayError:
        return []


def _groups(keys: Sequence[str]) -> list[Sequence[str]]:
    starts = range(0, len(keys), OUTLINES_AT_ONCE)
    return [keys[start : start + OUTLINES_AT_ONCE] for start in starts]

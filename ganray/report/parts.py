"""The plain parts of a report: text, facts, tables, counts, shares, and what is folded away."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Tone = Literal["good", "calm", "bad", "open"]
"""What a state means: done, nothing to do, failed, still to be done."""


@dataclass(frozen=True)
class Note:
    """A paragraph; with tone "bad" it is what the reader must not miss."""

    text: str
    tone: Tone = "calm"
    template: ClassVar[str] = "note.html"


@dataclass(frozen=True)
class Facts:
    """Names with their values, such as a provenance."""

    items: tuple[tuple[str, str], ...]
    template: ClassVar[str] = "facts.html"


@dataclass(frozen=True)
class Count:
    """How many are in one state."""

    name: str
    value: int
    tone: Tone


@dataclass(frozen=True)
class Counts:
    """A bar of the states, each as long as its share, with a legend that says the numbers."""

    caption: str
    counts: tuple[Count, ...]
    template: ClassVar[str] = "counts.html"


@dataclass(frozen=True)
class Shares:
    """A bar of what a whole is made of, with names and shares that add up to 1; what has none is
    not seen, and keeps the colours of what follows."""

    caption: str
    shares: tuple[tuple[str, float], ...]
    template: ClassVar[str] = "shares.html"


@dataclass(frozen=True)
class Cell:
    """What a table shows, and the number that it is sorted by; without one, by its text."""

    text: str
    value: float | None = None

    @property
    def sorted_by(self) -> str:
        """The number as JavaScript reads it; what is none stands with the lowest."""
        assert self.value is not None
        if math.isfinite(self.value):
            return str(self.value)
        return "Infinity" if self.value > 0 else "-Infinity"


@dataclass(frozen=True)
class Table:
    """Rows under headings; a heading sorts the rows. A column of numbers stands to the right."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    template: ClassVar[str] = "table.html"

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether each column holds numbers alone."""
        columns = zip(*self.rows, strict=True)
        return tuple(all(c.value is not None for c in column) for column in columns) or tuple(
            False for _ in self.headings
        )


@dataclass(frozen=True)
class Folded:
    """Text as it stands, such as a configuration, behind a line that opens it."""

    title: str
    text: str
    template: ClassVar[str] = "folded.html"


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> Table:
    """A table of texts and cells."""
    cells = tuple(
        tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows
    )
    return Table(caption, tuple(headings), cells)

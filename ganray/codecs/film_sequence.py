"""Which files are the frames of one sequence: `shot.0001.dpx`, `shot.0002.dpx`, …

Names alone decide. Every frame is an input of its own and keeps its name, so that padding and
gaps survive without this; it is for whoever looks at an archive.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

# The last number of a name; more digits than these count nothing.
_FRAME = re.compile(r"(?P<prefix>.*?)(?P<number>[0-9]{1,18})(?P<suffix>\.[^./]+)", re.DOTALL)


@dataclass(frozen=True)
class FrameSequence:
    """Frames `first` to `last`, apart from those in `gaps`; `padding` is the least of digits."""

    prefix: str
    suffix: str
    padding: int
    first: int
    last: int
    gaps: tuple[range, ...]

    def key(self, number: int) -> str:
        """The key of a frame."""
        return f"{self.prefix}{number:0{self.padding}d}{self.suffix}"

    @property
    def pattern(self) -> str:
        """The sequence as film software writes it: `shot.####.dpx`."""
        return f"{self.prefix}{'#' * self.padding}{self.suffix}"

    @property
    def num_missing(self) -> int:
        return sum(len(gap) for gap in self.gaps)

    @property
    def num_frames(self) -> int:
        return self.last - self.first + 1 - self.num_missing


def sequence_of(keys: Iterable[str]) -> tuple[FrameSequence, ...]:
    """The sequences of at least two frames among `keys`, in order of their names."""
    found = [match for key in set(keys) if (match := _FRAME.fullmatch(key))]
    found.sort(key=_name)
    sequences = [
        _sequence(prefix, suffix, padding, numbers)
        for (prefix, suffix), frames in groupby(found, key=_name)
        for padding, numbers in _by_padding([match["number"] for match in frames])
        if len(numbers) > 1
    ]
    return tuple(sequences)


def _name(match: "re.Match[str]") -> tuple[str, str]:
    return match["prefix"], match["suffix"]


def _by_padding(digits: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
    """Numbers by how many digits they are padded to.

    One that begins with 0 shows it. Another belongs to the widest padding that could have made
    it; where there is none, all are as wide as the narrowest.
    """
    shown = {len(number) for number in digits if number.startswith("0")}
    plain = [len(number) for number in digits if not number.startswith("0")]
    narrowest = min((n for n in plain if not any(width <= n for width in shown)), default=0)
    groups: dict[int, list[int]] = {}
    for number in digits:
        padding = len(number)
        if not number.startswith("0"):
            padding = max((width for width in shown if width <= len(number)), default=narrowest)
        groups.setdefault(padding, []).append(int(number))
    for padding in sorted(groups):
        yield padding, sorted(groups[padding])


def _sequence(prefix: str, suffix: str, padding: int, numbers: Sequence[int]) -> FrameSequence:
    gaps = tuple(range(a + 1, b) for a, b in pairwise(numbers) if b > a + 1)
    return FrameSequence(prefix, suffix, padding, numbers[0], numbers[-1], gaps)

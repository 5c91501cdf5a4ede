"""Marks on an image: many small discs and blobs, drawn at once for a whole batch.

A line is a row of discs. What is drawn depends on the marks alone, not on their order, and costs
as much as their area, so that patches and whole scans are drawn alike.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

LOBES = 5
# How far the outline of a blob may leave its circle: the sum of its lobes' amplitudes.
MOST_LOBE = 0.5
EDGE_PIXELS = 1.0
MOST_VALUES_AT_ONCE = 2**20


@dataclass(frozen=True)
class Marks:
    """Marks (N) of one image: centre and radius in pixels, opacity in 0-1, whether bright.

    `lobes` (N,LOBES,2) are amplitude, as a part of the radius, and phase of waves along the
    outline, the first of two periods (an ellipse), the next of three, and so on.
    """

    down: Floats
    right: Floats
    radius: Floats
    opacity: Floats
    bright: NDArray[np.bool_]
    lobes: Floats

    def __len__(self) -> int:
        return len(self.down)


def join(marks: Sequence[Marks]) -> Marks:
    """All of several lists of marks, at least one."""
    names = ("down", "right", "radius", "opacity", "bright", "lobes")
    return Marks(*(np.concatenate([getattr(each, name) for each in marks]) for name in names))


def discs(line: Floats, radius: Floats, opacity: Floats, *, bright: bool) -> Marks:
    """Discs at the points (N,2) of a line."""
    number = len(line)
    lobes = np.zeros((number, LOBES, 2))
    return Marks(line[:, 0], line[:, 1], radius, opacity, np.full(number, bright), lobes)


def draw(
    marks: Sequence[Marks], height: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """How much the dark and the bright marks of each image cover, each (B,1,height,width)."""
    image = np.repeat(np.arange(len(marks)), [len(each) for each in marks])
    every = join(marks)
    covered = torch.zeros(2 * len(marks) * height * width, device=device)
    plane = every.bright * len(marks) + image
    for chosen, reach in _chunks(every):
        _stamp(covered, _select(every, chosen), plane[chosen], reach, (height, width))
    dark, bright = covered.view(2, len(marks), 1, height, width)
    return dark, bright


def _chunks(marks: Marks) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Marks of about one size, and how far they reach: a few at a time."""
    grown = 1 + MOST_LOBE * marks.lobes.any(axis=(1, 2))
    reaches = np.ceil(marks.radius * grown + EDGE_PIXELS).astype(np.int64)
    octaves = np.ceil(np.log2(reaches))
    for octave in np.unique(octaves):
        members = np.flatnonzero(octaves == octave)
        reach = int(reaches[members].max())
        step = max(1, MOST_VALUES_AT_ONCE // (2 * reach + 1) ** 2)
        for begin in range(0, len(members), step):
            yield members[begin : begin + step], reach


def _select(marks: Marks, chosen: NDArray[np.int64]) -> Marks:
    names = ("down", "right", "radius", "opacity", "bright", "lobes")
    return Marks(*(getattr(marks, name)[chosen] for name in names))


def _stamp(
    covered: Tensor, marks: Marks, plane: NDArray[np.int64], reach: int, size: tuple[int, int]
) -> None:
    """Raise `covered` to what each mark covers of its plane."""
    device = covered.device
    columns = np.stack([marks.down, marks.right, marks.radius, marks.opacity])
    down, right, radius, opacity = torch.from_numpy(columns.astype(np.float32)).to(device)[
        ..., None, None
    ]
    offsets = torch.arange(-reach, reach + 1, device=device)
    rows = down.round().long() + offsets[:, None]
    places = right.round().long() + offsets
    below, beside = rows - down, places - right
    distance = torch.hypot(below, beside)
    outline = radius * _lobed(marks.lobes, below, beside, device)
    values = opacity * ((outline - distance) / EDGE_PIXELS + 0.5).clamp_(0, 1)
    height, width = size
    inside = (rows >= 0) & (rows < height) & (places >= 0) & (places < width)
    planes = torch.from_numpy(plane).to(device)[:, None, None]
    index = planes * height * width + rows.clamp(0, height - 1) * width
    index = index + places.clamp(0, width - 1)
    covered.scatter_reduce_(0, index.flatten(), (values * inside).flatten(), "amax")


def _lobed(lobes: Floats, below: Tensor, beside: Tensor, device: torch.device) -> Tensor:
    """The outline's distance from the centre in each direction, as a part of the radius."""
    outline = torch.ones((), device=device)
    if not lobes.any():
        return outline
    angle = torch.atan2(below, beside)
    waves = torch.from_numpy(lobes.astype(np.float32)).to(device)[..., None, None]
    for number in range(LOBES):
        amplitude, phase = waves[:, number, 0], waves[:, number, 1]
        outline = outline + amplitude * torch.cos((number + 2) * angle + phase)
    return outline


def wandering(
    rng: np.random.Generator,
    middle: tuple[float, float],
    extent: float,
    *,
    bend: float,
    jitter: float,
) -> Floats:
    """A line of points a pixel apart, (N,2): it bends evenly, in radians over its extent, and
    changes its direction at random, by `jitter` radians a pixel."""
    number = max(2, math.ceil(extent))
    begin = rng.uniform(0, 2 * math.pi)
    heading = begin + bend * np.linspace(-1, 1, number)
    heading = heading + np.cumsum(rng.normal(0, 1, number)) * jitter
    line = np.cumsum(np.stack([np.sin(heading), np.cos(heading)], axis=1), axis=0)
    line += np.asarray(middle) - line[number // 2]
    return line

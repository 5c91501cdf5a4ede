"""Damage of film and prints: scratches, dust, spots, hair, tears, regions that are gone.

Each step covers pixels with a tone and says in the mask where it covers more than 30 %. Numbers
are expected counts on 128x128 pixels, widths are in pixels of the degraded image.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ganray.degradation.draws import (
    ChanceStep,
    Draws,
    PositiveRange,
    Probability,
    Range,
    UnitRange,
)
from ganray.degradation.marks import LOBES, MOST_LOBE, Floats, Marks, discs, draw, join, wandering

COUNTED_SIDE = 128
# Pixels that are covered more than this are lost.
LOST = 0.3
NONE = Marks(*(np.zeros(0),) * 4, np.zeros(0, np.bool_), np.zeros((0, LOBES, 2)))


class DamageStep(ChanceStep):
    """What all kinds of damage have."""

    number: Range
    """Range of the expected number on 128x128 pixels."""
    opacity: UnitRange = (0.6, 1.0)
    """Range of how much each covers."""
    bright_probability: Probability = 0.5
    """How often one is bright; else it is dark."""
    dark: UnitRange = (0.0, 0.15)
    """Range of the tone of dark ones."""
    bright: UnitRange = (0.85, 1.0)
    """Range of the tone of bright ones."""


class Scratches(DamageStep):
    """Nearly vertical scratches, as transport leaves them on film; they waver slightly."""

    kind: Literal["scratches"]
    width: PositiveRange = (0.6, 2.5)
    """Range of the width."""
    whole_probability: Probability = 0.6
    """How often one goes from edge to edge."""


class Spots(DamageStep):
    """Dust, dirt and stains: blobs of irregular outline."""

    kind: Literal["spots"]
    radius: PositiveRange = (0.5, 2.0)
    """Range of the radius; small ones are more frequent, evenly in its logarithm."""


class Hair(DamageStep):
    """Hairs and fibres: thin lines that bend."""

    kind: Literal["hair"]
    width: PositiveRange = (0.8, 1.8)
    """Range of the width."""
    extent: PositiveRange = (15.0, 70.0)
    """Range of the length."""


class Tears(DamageStep):
    """Tears, cracks and creases: jagged lines."""

    kind: Literal["tears"]
    width: PositiveRange = (1.0, 5.0)
    """Range of the width, which changes along the line."""
    extent: PositiveRange = (40.0, 200.0)
    """Range of the length."""


class Missing(DamageStep):
    """Regions that are gone: blobs and broad strokes, as often."""

    kind: Literal["missing"]
    radius: PositiveRange = (4.0, 20.0)
    """Range of a blob's radius and of a stroke's width; small ones are more frequent, evenly in
    its logarithm."""


Damage = Scratches | Spots | Hair | Tears | Missing


def damage(pixels_BCHW: Tensor, step: Damage, draws: Draws, zoom: float) -> tuple[Tensor, Tensor]:
    """Cover pixels; also where by more than 30 %, (B,1,H,W) of zeros and ones."""
    height, width = pixels_BCHW.shape[-2:]
    make = _maker(step)
    tones = draws.uniform(step.dark), draws.uniform(step.bright)
    marks = []
    for stream in draws.streams:
        rng = stream.rng
        expected = rng.uniform(*step.number) * _area(step, height, width, zoom)
        found = [make(step, rng, (height, width), zoom) for _ in range(rng.poisson(expected))]
        marks.append(join(found) if found else NONE)
    if not sum(map(len, marks)):
        return pixels_BCHW, torch.zeros_like(pixels_BCHW[:, :1])
    covered = draw(marks, height, width, draws.device)
    for tone, part in zip(tones, covered, strict=True):
        pixels_BCHW = torch.lerp(pixels_BCHW, tone, part)
    return pixels_BCHW, (torch.maximum(*covered) > LOST).float()


def _maker(step: Damage) -> Callable[..., Marks]:
    match step:
        case Scratches():
            return _scratch
        case Spots():
            return _spot
        case Hair():
            return _hair
        case Tears():
            return _tear
        case Missing():
            return _missing


def _area(step: Damage, height: int, width: int, zoom: float) -> float:
    """The image in units of 128x128 pixels; scratches cross it, so that only its width counts."""
    across = width / (zoom * COUNTED_SIDE)
    return across if isinstance(step, Scratches) else across * height / (zoom * COUNTED_SIDE)


def _scratch(
    step: Scratches, rng: np.random.Generator, size: tuple[int, int], zoom: float
) -> Marks:
    """Kokaram 1998, "Motion Picture Restoration", chapter 9: lines of nearly constant place."""
    height, width = size
    rows = np.arange(height, dtype=np.float64)
    if rng.random() >= step.whole_probability:
        begin, end = np.sort(rng.uniform(0, height, 2))
        rows = rows[int(begin) : int(end) + 1]
    # Waves of about a frame's height and of an eighth of it, a pixel or so wide.
    waves = rng.normal(0, (1.5 * zoom, 0.4 * zoom)), rng.uniform(0, 2 * math.pi, 2)
    places = rng.uniform(-2, width + 2) + rng.normal(0, 0.01) * (rows - height / 2)
    for amplitude, phase, period in zip(*waves, (512 * zoom, 64 * zoom), strict=True):
        places = places + amplitude * np.sin(2 * math.pi * rows / period + phase)
    opacity = rng.uniform(*step.opacity) * _wavering(rng, len(rows), zoom)
    radius = np.full(len(rows), rng.uniform(*step.width) * zoom / 2)
    line = np.stack([rows, places], axis=1)
    return discs(line, radius, opacity, bright=_is_bright(step, rng))


def _spot(step: Spots, rng: np.random.Generator, size: tuple[int, int], zoom: float) -> Marks:
    low, high = step.radius
    return _blob(step, rng, size, zoom * low * (high / low) ** rng.random())


def _hair(step: Hair, rng: np.random.Generator, size: tuple[int, int], zoom: float) -> Marks:
    bend = rng.normal(0, 0.7)
    extent = rng.uniform(*step.extent) * zoom
    line = wandering(rng, _place(rng, size), extent, bend=bend, jitter=0.04 / math.sqrt(zoom))
    radius = np.full(len(line), rng.uniform(*step.width) * zoom / 2)
    return _line(step, rng, line, radius)


def _tear(step: Tears, rng: np.random.Generator, size: tuple[int, int], zoom: float) -> Marks:
    extent = rng.uniform(*step.extent) * zoom
    line = wandering(rng, _place(rng, size), extent, bend=0.0, jitter=0.12 / math.sqrt(zoom))
    # Wide in the middle, ragged, and pointed at both ends.
    shape = np.sin(math.pi * np.linspace(0.04, 0.96, len(line)))
    ragged = shape * rng.uniform(0.6, 1.0, len(line))
    return _line(step, rng, line, rng.uniform(*step.width) * zoom / 2 * ragged)


def _missing(step: Missing, rng: np.random.Generator, size: tuple[int, int], zoom: float) -> Marks:
    """Blobs, and strokes as in Yu et al. 2019, "Free-form image inpainting", algorithm 1."""
    low, high = step.radius
    radius = zoom * low * (high / low) ** rng.random()
    if rng.random() < 0.5:
        return _blob(step, rng, size, radius)
    extent = radius * rng.uniform(4, 12)
    bend = rng.normal(0, 0.8)
    line = wandering(rng, _place(rng, size), extent, bend=bend, jitter=0.5 / math.sqrt(radius * 8))
    spaced = line[:: max(1, int(radius / 4))]
    return _line(step, rng, spaced, np.full(len(spaced), radius / 2))


def _blob(step: Damage, rng: np.random.Generator, size: tuple[int, int], radius: float) -> Marks:
    """A circle whose outline is bent by waves, the longest the strongest."""
    amplitudes = rng.dirichlet((8,) + (2,) * (LOBES - 1)) * rng.uniform(0.1, MOST_LOBE)
    lobes = np.stack([amplitudes, rng.uniform(0, 2 * math.pi, LOBES)], axis=1)[None]
    disc = _line(step, rng, np.array([_place(rng, size)]), np.array([radius]))
    return replace(disc, lobes=lobes)


def _line(step: Damage, rng: np.random.Generator, line: Floats, radius: Floats) -> Marks:
    opacity = np.full(len(line), rng.uniform(*step.opacity))
    return discs(line, radius, opacity, bright=_is_bright(step, rng))


def _wavering(rng: np.random.Generator, length: int, zoom: float) -> Floats:
    """Slow changes of a scratch's opacity along it, in 0-1."""
    phases = rng.uniform(0, 2 * math.pi, 2)
    along = 2 * math.pi * np.arange(length) / zoom
    waves: Floats = np.sin(along / 90 + phases[0]) + np.sin(along / 23 + phases[1])
    return 0.75 + 0.125 * waves


def _place(rng: np.random.Generator, size: tuple[int, int]) -> tuple[float, float]:
    return rng.uniform(0, size[0]), rng.uniform(0, size[1])


def _is_bright(step: Damage, rng: np.random.Generator) -> bool:
    return bool(rng.random() < step.bright_probability)

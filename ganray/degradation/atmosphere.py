"""What lies between a scene and its sensor: haze, and a range of values that is not used up."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ganray.degradation.draws import ChanceStep, Draws, Positive, Range, UnitRange

# Of the part of the airlight that differs between bands.
AIRLIGHT_SPREAD = 0.04


class Haze(ChanceStep):
    """Haze and thin cloud: light is lost on the way and light of the sky is added."""

    kind: Literal["haze"]
    depth: Range
    """Range of the mean optical depth; 0 is clear, 1 leaves 37 % of the light."""
    variation: UnitRange = (0.0, 0.6)
    """Range of how much the depth changes over the image, as a part of its mean."""
    airlight: UnitRange = (0.75, 1.0)
    """Range of the brightness of the haze itself."""
    cell: Positive = 96.0
    """Size of its structures, in pixels of the degraded image."""


class LowContrast(ChanceStep):
    """Values squeezed into a part of their range."""

    kind: Literal["low_contrast"]
    contrast: UnitRange = (0.4, 0.9)
    """Range of the part of the range that is left, at a place drawn evenly."""


def haze(pixels_BCHW: Tensor, step: Haze, draws: Draws, zoom: float) -> Tensor:
    """I = J·t + A·(1−t), t = exp(−depth); Koschmieder 1924, "Theorie der horizontalen Sichtweite".

    The depth is a smooth field; bands differ slightly in their airlight.
    """
    _, bands, height, width = pixels_BCHW.shape
    mean, variation = draws.uniform(step.depth), draws.uniform(step.variation)
    field = _smooth_field(draws, height, width, step.cell * zoom)
    depth = (mean * (1 + variation * field)).clamp_(min=0)
    tint = draws.normal((bands, 1, 1)) * AIRLIGHT_SPREAD
    airlight = (draws.uniform(step.airlight) + tint).clamp_(0, 1)
    return torch.lerp(airlight.expand_as(pixels_BCHW), pixels_BCHW, torch.exp(-depth))


def low_contrast(pixels_BCHW: Tensor, step: LowContrast, draws: Draws) -> Tensor:
    """y = c·x + (1−c)·u, with u even in 0-1."""
    contrast = draws.uniform(step.contrast)
    return pixels_BCHW * contrast + (1 - contrast) * draws.uniform((0, 1))


def _smooth_field(draws: Draws, height: int, width: int, cell: float) -> Tensor:
    """A random field (B,1,height,width) of deviation about one that changes over `cell` pixels."""
    rows, columns = (math.ceil(length / cell) + 2 for length in (height, width))
    coarse = F.pad(draws.normal((1, rows, columns)), (1, 1, 1, 1), mode="replicate")
    # The field begins anywhere within a cell, so that small patches see all of its slopes.
    begin = draws.uniform((0, 1)), draws.uniform((0, 1))
    down, right = (
        (torch.arange(length, device=draws.device) / cell + start[:, 0, 0] + 1.5) * 2 / (cells + 2)
        - 1
        for length, start, cells in ((height, begin[0], rows), (width, begin[1], columns))
    )
    places = torch.stack(
        [right[:, None, :].expand(-1, height, -1), down[:, :, None].expand(-1, -1, width)], dim=-1
    )
    return F.grid_sample(coarse, places, mode="bicubic", padding_mode="border", align_corners=False)

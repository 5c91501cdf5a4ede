"""Blur and ringing: kernels of lenses, hands and programs.

Widths are in pixels of the degraded image, so that a recipe means the same at every scale.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ganray.degradation.convolution import convolve, grid, normalised
from ganray.degradation.draws import ChanceStep, Draws, PositiveRange, Range, UnitRange

ShapeName = Literal["gaussian", "anisotropic", "generalised", "plateau"]
# Of a kernel's peak; where a Gaussian has it, at 3 deviations, every shape ends.
SMALLEST_PART = math.exp(-(3.0**2) / 2)
# Of a kernel, in pixels; a wider one would leave nothing of a patch.
MOST_RADIUS = 128
SMALLEST_SIGMA = 0.05
SINC_RADIUS = 10


class Blur(ChanceStep):
    """Blur by a Gaussian or one of its relatives, as in BSRGAN and Real-ESRGAN."""

    kind: Literal["blur"]
    sigma: Range
    """Range of the standard deviation, in pixels of the degraded image."""
    shapes: Annotated[tuple[ShapeName, ...], Field(min_length=1)] = ("gaussian",)
    """Shapes of the kernel, drawn evenly; all but gaussian are elongated and turned."""
    generalised_power: PositiveRange = (0.5, 4.0)
    """Range of the exponent of generalised Gaussians; 1 is a Gaussian, more a sharper edge."""
    plateau_power: PositiveRange = (1.0, 2.0)
    """Range of the exponent of plateaus."""


class Motion(ChanceStep):
    """Blur by a straight, even movement during exposure."""

    kind: Literal["motion"]
    extent: Range
    """Range of its length, in pixels of the degraded image."""


class Defocus(ChanceStep):
    """Blur of a lens out of focus: a disc."""

    kind: Literal["defocus"]
    radius: Range
    """Range of the disc's radius, in pixels of the degraded image."""


class Sinc(ChanceStep):
    """Ringing, as sharpening and cutting of high frequencies leave it."""

    kind: Literal["sinc"]
    cutoff: UnitRange = (0.35, 1.0)
    """Range of the highest frequency that is kept, as a part of the highest there is."""


def reach(step: Blur | Motion | Defocus, zoom: float) -> int:
    """The largest radius of a step's kernels, in pixels; `zoom` as in `blur`."""
    match step:
        case Blur():
            extent = step.sigma[1] * zoom * max(_sigmas(step, shape) for shape in step.shapes)
        case Motion():
            extent = step.extent[1] * zoom / 2 + 1
        case Defocus():
            extent = step.radius[1] * zoom + 1
    return max(1, math.ceil(extent))


def _sigmas(step: Blur, shape: ShapeName) -> float:
    """Deviations at which the longest of a shape's kernels falls to SMALLEST_PART."""
    match shape:
        case "generalised":
            return float((-2 * math.log(SMALLEST_PART)) ** (0.5 / step.generalised_power[0]))
        case "plateau":
            return float((1 / SMALLEST_PART - 1) ** (0.5 / step.plateau_power[0]))
        case _:
            return math.sqrt(-2 * math.log(SMALLEST_PART))


def blur(pixels_BCHW: Tensor, step: Blur, draws: Draws, zoom: float) -> Tensor:
    """Convolve with k(q), q = dᵀΣ⁻¹d: exp(−q/2), exp(−q^β/2) or 1/(1+q^β).

    `zoom` are pixels here per pixel of the degraded image. Wang et al. 2021, "Real-ESRGAN",
    section 3.1; Liu et al. 2020, "Estimating generalized Gaussian blur kernels", for β.
    """
    shapes = draws.choose(step.shapes)
    wide, narrow, angle = (draws.uniform(b) for b in (step.sigma, step.sigma, (0, math.pi)))
    narrow = torch.where(_of(shapes, "gaussian", draws), wide, narrow)
    power = torch.where(
        _of(shapes, "plateau", draws),
        draws.uniform(step.plateau_power),
        draws.uniform(step.generalised_power),
    )
    power = torch.where(_of(shapes, "plateau", draws) | _of(shapes, "generalised", draws), power, 1)
    along, across = _turned(reach(step, zoom), angle, draws)
    widths = [_at_least(width[:, 0] * zoom) for width in (wide, narrow)]
    raised = ((along / widths[0]).square() + (across / widths[1]).square()).pow(power[:, 0])
    plateau = _of(shapes, "plateau", draws)[:, 0]
    kernels = torch.where(plateau, 1 / (1 + raised), torch.exp(-raised / 2))
    return convolve(pixels_BCHW, normalised(kernels)).clamp(0, 1)


def motion(pixels_BCHW: Tensor, step: Motion, draws: Draws, zoom: float) -> Tensor:
    """Convolve with a thin line; Potmesil and Chakravarty 1983, "Modeling motion blur"."""
    extent, angle = draws.uniform(step.extent) * zoom, draws.uniform((0, math.pi))
    along, across = _turned(reach(step, zoom), angle, draws)
    length = (extent[:, 0] / 2 + 0.5 - along.abs()).clamp(0, 1)
    return convolve(pixels_BCHW, normalised(length * (1 - across.abs()).clamp(min=0))).clamp(0, 1)


def defocus(pixels_BCHW: Tensor, step: Defocus, draws: Draws, zoom: float) -> Tensor:
    """Convolve with a disc; Potmesil and Chakravarty 1981, "A lens and aperture camera model"."""
    radius = draws.uniform(step.radius)[:, 0] * zoom
    down, right = grid(reach(step, zoom), draws.device)
    kernels = (radius + 0.5 - torch.hypot(down, right)).clamp(0, 1)
    return convolve(pixels_BCHW, normalised(kernels)).clamp(0, 1)


def sinc(pixels_BCHW: Tensor, step: Sinc, draws: Draws) -> Tensor:
    """Convolve with ω/(2πr)·J₁(ωr); Wang et al. 2021, "Real-ESRGAN", equation 6."""
    cutoff = math.pi * _at_least(draws.uniform(step.cutoff)[:, 0])
    down, right = grid(SINC_RADIUS, draws.device)
    distance = torch.hypot(down, right)
    ringing = cutoff * torch.special.bessel_j1(cutoff * distance) / (2 * math.pi * distance)
    kernels = torch.where(distance > 0, ringing, cutoff.square() / (4 * math.pi))
    return convolve(pixels_BCHW, normalised(kernels)).clamp(0, 1)


def _of(shapes: list[ShapeName], name: ShapeName, draws: Draws) -> Tensor:
    return draws.tensor([shape == name for shape in shapes]) > 0


def _turned(radius: int, angle_B111: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Distances along and across a direction of each kernel, (B,K,K)."""
    down, right = grid(radius, draws.device)
    cosine, sine = angle_B111[:, 0].cos(), angle_B111[:, 0].sin()
    return right * cosine + down * sine, down * cosine - right * sine


def _at_least(values: Tensor) -> Tensor:
    return values.clamp(min=SMALLEST_SIGMA)

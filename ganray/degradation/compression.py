"""What files do to pixels: JPEG, and rounding to a number of bits.

JPEG is libjpeg's baseline: its tables, quality formula, 4:2:0 subsampling and smooth
upsampling of chroma (ISO/IEC 10918-1; Independent JPEG Group, jcparam.c, jdsample.c). Only the
entropy coding is left out, which loses nothing.
"""

import math
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor

from ganray.config import Section
from ganray.degradation.draws import ChanceStep, Draws, ascends

Quality = Annotated[int, Field(ge=1, le=100)]
BLOCK = 8


class Jpeg(ChanceStep):
    """JPEG compression and decompression; for 1 or 3 bands."""

    kind: Literal["jpeg"]
    quality: Annotated[tuple[Quality, Quality], AfterValidator(ascends)]
    """Range of the quality, 1-100."""


class Quantise(Section):
    """Rounding, as a stored file has it."""

    kind: Literal["quantise"]
    bits: Annotated[int, Field(ge=1, le=16)] = 8
    """Bits of a sample."""


# ISO/IEC 10918-1, tables K.1 and K.2.
LUMA = """
16 11 10 16  24  40  51  61   12 12 14 19  26  58  60  55
14 13 16 24  40  57  69  56   14 17 22 29  51  87  80  62
18 22 37 56  68 109 103  77   24 35 55 64  81 104 113  92
49 64 78 87 103 121 120 101   72 92 95 98 112 100 103  99
"""
CHROMA = """
17 18 24 47 99 99 99 99   18 21 26 66 99 99 99 99
24 26 56 99 99 99 99 99   47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99
99 99 99 99 99 99 99 99   99 99 99 99 99 99 99 99
"""
# JFIF 1.02, from RGB to luma and the two chroma planes, and back.
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def jpeg(pixels_BCHW: Tensor, step: Jpeg, draws: Draws) -> Tensor:
    """Compress each image with a quality of its own."""
    return compress(pixels_BCHW, draws.whole(step.quality))


def compress(pixels_BCHW: Tensor, qualities: list[int]) -> Tensor:
    """What JPEG at `qualities` leaves of pixels in 0-1 with 1 or 3 bands, in steps of 1/255."""
    levels = (pixels_BCHW * 255).round_().clamp_(0, 255)
    if levels.shape[1] == 1:
        return _code(levels, tables(LUMA, qualities, levels.device)).div_(255)
    height, width = levels.shape[-2:]
    # To the right whole blocks of 16; below only pairs of rows, as in libjpeg's jcprepct.c: the
    # blocks of a plane are filled up with its own last row.
    padded = F.pad(levels, (0, -width % 16, 0, -height % 2), mode="replicate")
    # Rounded wherever libjpeg has whole numbers.
    ycc = _mix(padded, TO_YCC).round_()
    luma = _code(ycc[:, :1], tables(LUMA, qualities, levels.device))
    chroma = _halved(ycc[:, 1:].add(128).clamp_(0, 255))
    coded = _code(chroma, tables(CHROMA, qualities, levels.device)).sub_(128)
    coded = coded[..., : math.ceil(height / 2), : math.ceil(width / 2)]
    spread = F.interpolate(coded, scale_factor=2.0, mode="bilinear", align_corners=False)
    whole = torch.cat([luma[..., :height, :width], spread[..., :height, :width].round_()], dim=1)
    decoded: Tensor = _mix(whole, TO_RGB).round_().clamp_(0, 255).div_(255)
    return decoded


def _halved(planes_BCHW: Tensor) -> Tensor:
    """Means of 2x2 levels, what is between two levels going down and up by turns (jcsample.c)."""
    sums = F.avg_pool2d(planes_BCHW, 2, divisor_override=1)
    bias = torch.arange(sums.shape[-1], device=sums.device) % 2 + 1
    halved: Tensor = sums.add_(bias).div_(4).floor_()
    return halved


def quantise(pixels_BCHW: Tensor, step: Quantise) -> Tensor:
    """Round to the nearest of the values that `bits` can tell apart."""
    largest = 2**step.bits - 1
    rounded: Tensor = (pixels_BCHW.clamp(0, 1) * largest).round_() / largest
    return rounded


def tables(base: str, qualities: list[int], device: torch.device) -> Tensor:
    """Steps of quantisation for each image, (B,1,64)."""
    scales = np.array([5000 // q if q < 50 else 200 - 2 * q for q in qualities])
    values = (np.array(base.split(), int)[None] * scales[:, None] + 50) // 100
    return torch.from_numpy(np.clip(values, 1, 255).astype(np.float32)).to(device)[:, None]


def _code(planes_BCHW: Tensor, steps_B164: Tensor) -> Tensor:
    """Planes of levels through the cosine transform and its rounding, and back to levels."""
    batch, bands, height, width = planes_BCHW.shape
    padded = F.pad(planes_BCHW, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    down, right = padded.shape[-2] // BLOCK, padded.shape[-1] // BLOCK
    blocks = padded.sub(128).view(batch, bands, down, BLOCK, right, BLOCK).transpose(3, 4)
    cosines = _cosines(planes_BCHW.device)
    values = blocks.reshape(batch, -1, BLOCK * BLOCK) @ cosines.T
    values = values.div_(steps_B164).round_().mul_(steps_B164) @ cosines
    restored = values.view(batch, bands, down, right, BLOCK, BLOCK).transpose(3, 4)
    levels = restored.reshape(batch, bands, down * BLOCK, right * BLOCK)
    levels = levels.add_(128).round_().clamp_(0, 255)
    return levels[..., :height, :width]


@lru_cache(maxsize=8)
def _cosines(device: torch.device) -> Tensor:
    """The orthonormal cosine transform of a block of 8x8 in one matrix, (64,64)."""
    frequency, place = np.mgrid[:BLOCK, :BLOCK]
    basis = np.cos((2 * place + 1) * frequency * math.pi / (2 * BLOCK)) / 2
    basis[0] /= math.sqrt(2)
    return torch.from_numpy(np.kron(basis, basis).astype(np.float32)).to(device)


def _mix(pixels_BCHW: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Bands as sums of bands; spelled out, since a product of matrices may be in TF32."""
    bands = pixels_BCHW.unbind(1)
    rows = [
        sum((w * b for w, b in zip(row, bands, strict=True)), start=0.0 * bands[0])
        for row in matrix
    ]
    mixed: Tensor = torch.stack(rows, dim=1)
    return mixed

"""Adaptive augmentation of what the discriminator sees, for archives of few images.

After Karras et al. 2020 (ADA). A reference and its restoration are transformed alike, so that
the paired game stays paired. All transforms are differentiable, twice; what is random about a
sample follows from the seeds that are passed in. The generator never sees an augmented image as
its target, and its output is augmented for the discriminator alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ganray.config import Section

LARGEST_SHIFT = 0.125
"""Of the side; as the deviations below, Karras et al. 2020, appendix B."""
SCALE_DEVIATION = 0.2 * math.log(2)
BRIGHTNESS_DEVIATION = 0.1
"""Of images in 0-1; the paper's 0.2 is of images in −1 to 1."""
CONTRAST_DEVIATION = 0.5 * math.log(2)
SATURATION_DEVIATION = math.log(2)
CUTOUT = 0.25
"""Side of the square that is cut out, as a part of the image's; the paper's is a half."""
GRAY = 0.5


class AugmentConfig(Section):
    """When the discriminator's images are augmented, and how much."""

    enabled: bool = False
    """Augment as far as the discriminator learns the references by heart: for archives of few
    images."""
    target: Annotated[float, Field(gt=-1, lt=1)] = 0.6
    """Mean sign of the discriminator's logits on references, in the relativistic game of their lead
    over restorations, above which it is taken to learn them by heart."""
    ramp_images: Annotated[int, Field(gt=0)] = 500_000
    """References that must be seen for the probability to go from 0 to 1."""
    every: Annotated[int, Field(gt=0)] = 4
    """Steps between two changes of the probability."""
    maximum: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Largest probability of each augmentation."""


@dataclass(frozen=True)
class Augmentation:
    """The controller in plain numbers: the probability, and the signs since its last change."""

    probability: float = 0.0
    sum_signs: float = 0.0
    num_steps: int = 0


def adapt(state: Augmentation, sign: float, batch_size: int, config: AugmentConfig) -> Augmentation:
    """p += sign(r − target)·images/ramp, r = E[sign D(x)]; Karras et al. 2020, section 3.1.

    `sign` is this step's mean over all workers, so that they agree.
    """
    total, steps = state.sum_signs + sign, state.num_steps + 1
    if steps < config.every:
        return Augmentation(state.probability, total, steps)
    move = np.sign(total / steps - config.target) * batch_size * steps / config.ramp_images
    return Augmentation(float(np.clip(state.probability + move, 0, config.maximum)))


@dataclass(frozen=True)
class Transforms:
    """What is done to each of B samples, as arrays (B,) or (B,2); the defaults do nothing."""

    flip: Tensor
    quarter_turns: Tensor
    shift: Tensor
    scale: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    cutout: Tensor
    """Its centre, as parts of the sides; negative for none."""


def draw_transforms(
    probability: float, seeds: Sequence[Sequence[int]], device: torch.device
) -> Transforms:
    """Each augmentation happens with `probability`; sample b's follow from seeds[b] alone.

    A flip or turn that happens may be none: as in the paper, all orientations are as likely then.
    """
    drawn = [_draw(probability, np.random.default_rng(list(seed))) for seed in seeds]
    return Transforms(
        **{
            field.name: torch.tensor(
                np.array([sample[field.name] for sample in drawn], np.float32), device=device
            )
            for field in fields(Transforms)
        }
    )


def augment(images_BCHW: Tensor, transforms: Transforms) -> Tensor:
    """Images in 0-1 and transformed, in their own type; quarter turns need square ones."""
    with torch.autocast(images_BCHW.device.type, enabled=False):
        moved = _move(images_BCHW.float(), transforms)
        scaled = _scale(moved, transforms.scale)
        coloured = _colour(scaled, transforms)
        return _cut(coloured, transforms.cutout).to(images_BCHW.dtype)


def _draw(probability: float, rng: np.random.Generator) -> dict[str, float | list[float]]:
    """All is drawn, whatever the probability: it changes only which of it happens."""
    coins = iter(rng.random(8) < probability)
    flip, turns = float(rng.integers(0, 2)), float(rng.integers(0, 4))
    shift = rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, 2).tolist()
    normal = iter(rng.standard_normal(4))
    centre = rng.random(2).tolist()
    return {
        "flip": flip if next(coins) else 0.0,
        "quarter_turns": turns if next(coins) else 0.0,
        "shift": shift if next(coins) else [0.0, 0.0],
        "scale": math.exp(next(normal) * SCALE_DEVIATION * next(coins)),
        "brightness": next(normal) * BRIGHTNESS_DEVIATION * next(coins),
        "contrast": math.exp(next(normal) * CONTRAST_DEVIATION * next(coins)),
        "saturation": math.exp(next(normal) * SATURATION_DEVIATION * next(coins)),
        "cutout": centre if next(coins) else [-1.0, -1.0],
    }


def _move(images_BCHW: Tensor, transforms: Transforms) -> Tensor:
    """Flip, turn, and shift by whole pixels with mirrored borders: a choice of pixels, exact."""
    _, bands, height, width = images_BCHW.shape
    rows, columns = _grid(height, width, images_BCHW.device)
    shift = (transforms.shift * transforms.shift.new_tensor([height, width])).round().long()
    rows = _mirror(rows - shift[:, 0, None, None], height)
    columns = _mirror(columns - shift[:, 1, None, None], width)
    turns = transforms.quarter_turns.long()[:, None, None]
    assert height == width or not bool(turns.any()), (height, width)
    rows, columns = (
        _choose(turns, rows, columns, height - 1 - rows, width - 1 - columns),
        _choose(turns, columns, height - 1 - rows, width - 1 - columns, rows),
    )
    columns = torch.where(transforms.flip[:, None, None] > 0, width - 1 - columns, columns)
    chosen = (rows * width + columns).flatten(1)[:, None].expand(-1, bands, -1)
    moved: Tensor = images_BCHW.flatten(2).gather(2, chosen).unflatten(2, (height, width))
    return moved


def _choose(turns_B11: Tensor, *options: Tensor) -> Tensor:
    chosen = options[0]
    for number, option in enumerate(options[1:], start=1):
        chosen = torch.where(turns_B11 == number, option, chosen)
    return chosen


def _mirror(positions: Tensor, size: int) -> Tensor:
    """Positions beyond the border, reflected about its outermost pixels."""
    return (size - 1) - ((size - 1) - positions.abs()).abs()


def _scale(images_BCHW: Tensor, scale_B: Tensor) -> Tensor:
    """Magnify about the centre, bilinearly; those with a scale of 1 are not touched."""
    scaled = scale_B != 1
    if not bool(scaled.any()):
        return images_BCHW
    matrices_B23 = torch.zeros(len(scale_B), 2, 3, device=images_BCHW.device)
    matrices_B23[:, 0, 0] = matrices_B23[:, 1, 1] = 1 / scale_B
    grid = F.affine_grid(matrices_B23, list(images_BCHW.shape), align_corners=False)
    magnified = F.grid_sample(
        images_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return torch.where(scaled[:, None, None, None], magnified, images_BCHW)


def _colour(images_BCHW: Tensor, transforms: Transforms) -> Tensor:
    """Brightness, contrast about mid-gray, saturation about the mean of the bands."""
    brightness, contrast, saturation = (
        part[:, None, None, None]
        for part in (transforms.brightness, transforms.contrast, transforms.saturation)
    )
    images = images_BCHW + brightness
    images = images + (images - GRAY) * (contrast - 1)
    coloured: Tensor = images + (images - images.mean(1, keepdim=True)) * (saturation - 1)
    return coloured


def _cut(images_BCHW: Tensor, centre_B2: Tensor) -> Tensor:
    height, width = images_BCHW.shape[2:]
    rows, columns = _grid(height, width, images_BCHW.device)
    centre = centre_B2 * centre_B2.new_tensor([height, width])
    far_down = (rows + 0.5 - centre[:, 0, None, None]).abs() >= CUTOUT / 2 * height
    far_right = (columns + 0.5 - centre[:, 1, None, None]).abs() >= CUTOUT / 2 * width
    kept = far_down | far_right | (centre_B2[:, 0, None, None] < 0)
    return torch.where(kept[:, None], images_BCHW, GRAY)


def _grid(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return (
        torch.arange(height, device=device)[None, :, None],
        torch.arange(width, device=device)[None, None, :],
    )

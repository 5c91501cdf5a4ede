"""Linear maps between the channels at the ends of two networks of one architecture.

Every map keeps a constant image: what one band or pixel stood for, the mean of others does.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ganray.models.layout import Layout


def map_inputs(before: Layout, after: Layout) -> Tensor:
    """What each channel that the old first convolution saw is made of, (old, new) channels.

    A mask that is new has no weight.
    """
    blocks = _shares(before.block, after.block)
    images = _product(
        _shares(before.images, after.images),
        _bands(before.bands, after.bands),
        _product(blocks, blocks),
    )
    if not (before.mask or after.mask):
        return images
    rows, columns = (layout.block**2 * layout.mask for layout in (before, after))
    seen = _product(blocks, blocks)[:rows, :columns]
    # block_diag would take an absent mask for one of no rows and no columns.
    result = images.new_zeros(images.shape[0] + rows, images.shape[1] + columns)
    result[: images.shape[0], : images.shape[1]] = images
    if rows and columns:
        result[images.shape[0] :, images.shape[1] :] = seen
    return result


def map_outputs(before: Layout, after: Layout) -> Tensor:
    """What each channel of the new last convolution is made of, (new, old) channels."""
    phases = _phases(after.phases, before.phases)
    return _product(_bands(after.bands, before.bands), _product(phases, phases))


def without_mean(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The tensors of a network that equals one which centres its input and does not itself."""
    return _moved(tensors, layout, layout.gain, -layout.gain)


def with_mean(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The inverse of `without_mean`: those of one that does centre its input."""
    return _moved(tensors, layout, 1 / layout.gain, 1.0)


def _moved(
    tensors: Mapping[str, Tensor], layout: Layout, gain: float, offset: float
) -> dict[str, Tensor]:
    """`gain` times the first convolution's weight, its bias moved by `offset` times the mean's."""
    name = f"{layout.first}.weight"
    if not layout.mean or name not in tensors:
        return dict(tensors)
    weight, bias = tensors[name], tensors[f"{layout.first}.bias"]
    share = torch.einsum("oikl,i->o", weight, weight.new_tensor(layout.mean))
    return dict(tensors) | {name: weight * gain, f"{layout.first}.bias": bias + share * offset}


def describe_changes(before: Layout, after: Layout) -> tuple[str, ...]:
    """What differs between the ends of two networks, in words."""
    changes = []
    if before.bands != after.bands:
        extra = ", further ones start as their mean" if 1 < before.bands < after.bands else ""
        changes.append(f"{before.bands} bands became {after.bands}{extra}")
    if before.images != after.images:
        changes.append(f"{before.images} images of a place became {after.images}")
    if before.mask != after.mask:
        changes.append("the mask starts without weight" if after.mask else "the mask is gone")
    if before.mean != after.mean:
        is_or_not = "is" if after.mean else "is no longer"
        changes.append(
            f"the input {is_or_not} centred: the first convolution has it in its weights, "
            "which is exact but for the border"
        )
    if before.num_levels != after.num_levels:
        changes.append(
            f"{before.num_levels} levels became {after.num_levels}: those of the same resolution "
            f"go on, {after.deepest} starts anew"
        )
    if before.block != after.block:
        changes.append(f"input blocks of {before.block} pixels became blocks of {after.block}")
    if before.phases != after.phases:
        changes.append(f"x{before.phases} became x{after.phases}, by interpolation of its pixels")
    return tuple(changes)


def _bands(rows: int, columns: int) -> Tensor:
    """Bands made of others: the same, where there are as many; else the mean of all."""
    if columns == 1:
        return torch.ones(rows, 1)
    result = torch.eye(rows, columns)
    if rows == 1 or rows > columns:
        result[0 if rows == 1 else columns :] = 1 / columns
    return result


def _shares(rows: int, columns: int) -> Tensor:
    """Equal parts of a length made of other equal parts of it, by how much they overlap."""
    ends = torch.arange(rows + 1) * columns, torch.arange(columns + 1) * rows
    low = torch.maximum(ends[0][:-1, None], ends[1][None, :-1])
    high = torch.minimum(ends[0][1:, None], ends[1][None, 1:])
    return (high - low).clamp(min=0) / columns


def _phases(rows: int, columns: int) -> Tensor:
    """Pixels within one of the input made of others within it, along one axis: interpolated
    between the two nearest, beyond the outermost equal to it."""
    if columns == 1:
        return torch.ones(rows, 1)
    places = (torch.arange(rows) + 0.5) / rows * columns - 0.5
    places = places.clamp(0, columns - 1)
    left = places.floor().clamp(0, columns - 2)
    result = torch.zeros(rows, columns)
    lines = torch.arange(rows)
    result[lines, left.long()] = 1 - (places - left)
    result[lines, left.long() + 1] = places - left
    return result


def _product(*maps: Tensor) -> Tensor:
    result = maps[0]
    for other in maps[1:]:
        result = torch.kron(result, other)
    return result

"""Sides of images brought to what a network takes."""

from torch import Tensor
from torch.nn import functional as F


def pad_to(images_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Images continued at the bottom and the right to (height, width).

    Mirrored, as the published pipelines do; the last line is repeated where there are too few
    lines to mirror.
    """
    below, beside = height - images_BCHW.shape[2], width - images_BCHW.shape[3]
    images_BCHW = _extend(images_BCHW, (0, 0, 0, below), fits=below < images_BCHW.shape[2])
    return _extend(images_BCHW, (0, beside, 0, 0), fits=beside < images_BCHW.shape[3])


def _extend(images_BCHW: Tensor, margins: tuple[int, int, int, int], *, fits: bool) -> Tensor:
    if not any(margins):
        return images_BCHW
    return F.pad(images_BCHW, margins, mode="reflect" if fits else "replicate")

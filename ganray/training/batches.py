"""From the arrays that travel to a batch on the device, degraded there unless pairs were given."""

import numpy as np
import torch
from torch import Tensor

from ganray.degradation.recipe import degrade
from ganray.training.samples import Arrays, SamplePlan
from ganray.training.steps import Batch


def make_batch(arrays: Arrays, samples: SamplePlan, device: torch.device) -> Batch:
    """The batch of some samples, in 0-1; what degrades one follows from (seed, index) alone."""
    reference = to_unit(arrays["reference"], device)
    seeds = tuple((samples.seed, index) for index in arrays["index"].tolist())
    if "degraded" in arrays:
        return Batch(to_unit(arrays["degraded"], device), reference, seeds=seeds)
    assert samples.recipe is not None
    found = degrade(reference, samples.recipe, scale=samples.scale, seeds=seeds)
    degraded = found.pixels.contiguous(memory_format=torch.channels_last)
    return Batch(degraded, reference, found.mask if samples.takes_mask else None, seeds)


def to_unit(patches: np.ndarray, device: torch.device) -> Tensor:
    """Patches (B,C,H,W) as float32 in 0-1, in the layout that convolutions like.

    They travel in their own depth and are scaled on the device.
    """
    # A block of Ray's is read only, and torch would warn of it.
    stored = torch.from_numpy(patches if patches.flags.writeable else patches.copy())
    tensor = stored.to(device).to(torch.float32, memory_format=torch.channels_last)
    if patches.dtype.kind == "f":
        return tensor
    return tensor / float(np.iinfo(str(patches.dtype)).max)

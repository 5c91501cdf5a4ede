"""What tests of degradations share: streams of samples, and images to degrade."""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ganray.degradation.draws import Draws, Stream

CPU = torch.device("cpu")


def make_draws(number: int, seed: int = 0) -> Draws:
    return Draws(tuple(Stream.begin(seed, index, CPU) for index in range(number)), CPU)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape, np.float32))


def smooth(*shape: int, seed: int = 0) -> Tensor:
    """Random blobs of a few pixels that use the whole range."""
    values = gaussian_filter(noise(*shape, seed=seed).numpy(), (0,) * (len(shape) - 2) + (3, 3))
    low, high = values.min(), values.max()
    return torch.from_numpy((values - low) / (high - low))

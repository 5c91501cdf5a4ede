"""Distances between a restoration y and its reference x, pixel by pixel, beside their formulas."""

import torch
from torch import Tensor

CHARBONNIER_EPSILON = 1e-3


def charbonnier(restored: Tensor, reference: Tensor) -> Tensor:
    """mean sqrt((y − x)² + ε²), Lai et al. 2017 (LapSRN), eq. 1."""
    return torch.sqrt((restored - reference) ** 2 + CHARBONNIER_EPSILON**2).mean()

"""What is random about a degradation: ranges in a configuration, and each sample's own numbers.

A sample draws from two streams that follow from its seed alone: numbers on the host, and noise
as large as the image on the device. So it is the same in every batch and on every rank; between
kinds of device the noise differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import AfterValidator, Field
from torch import Tensor

from ganray.config import Section

Number = TypeVar("Number", int, float)
Choice = TypeVar("Choice")

# Of these seeds: whoever else draws from (seed, index) draws other numbers.
PURPOSE = 0x646567
# So many samples of consecutive numbers share the sizes of random rescaling.
NEIGHBOURS = 8


def ascends(bounds: tuple[Number, Number]) -> tuple[Number, Number]:
    """The same range; raises ValueError where it descends."""
    if bounds[0] > bounds[1]:
        raise ValueError(f"a range goes from the lower to the higher bound; found {bounds}")
    return bounds


Probability = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[NotNegative, NotNegative], AfterValidator(ascends)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(ascends)]
CountRange = Annotated[
    tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]], AfterValidator(ascends)
]
UnitRange = Annotated[tuple[Probability, Probability], AfterValidator(ascends)]


class ChanceStep(Section):
    """A step that happens to a part of the samples."""

    probability: Probability = 1.0
    """How often it happens."""


@dataclass(frozen=True)
class Stream:
    """One sample's random numbers: `rng` on the host, `noise` on the device."""

    seed: int
    index: int
    rng: np.random.Generator
    noise: torch.Generator

    @classmethod
    def begin(cls, seed: int, index: int, device: torch.device) -> "Stream":
        rng = np.random.default_rng((PURPOSE, seed, index))
        noise = torch.Generator(device)
        noise.manual_seed(int(rng.integers(2**63 - 1)))
        return cls(seed, index, rng, noise)

    def shared_rng(self, position: int) -> np.random.Generator:
        """The same for NEIGHBOURS consecutive samples, another for each `position` in a recipe."""
        # One more, since NumPy takes (a, b, 0) and (a, b) for the same seed.
        return np.random.default_rng((PURPOSE, self.seed, self.index // NEIGHBOURS, position + 1))


@dataclass(frozen=True)
class Draws:
    """The streams of the samples of one batch (B), and the device of its pixels."""

    streams: tuple[Stream, ...]
    device: torch.device

    def __len__(self) -> int:
        return len(self.streams)

    def of(self, positions: Sequence[int]) -> "Draws":
        """Those of a part of the batch."""
        return Draws(tuple(self.streams[position] for position in positions), self.device)

    def chance(self, probability: float) -> list[bool]:
        """For each sample, whether something of this probability happens."""
        if probability >= 1:
            return [True] * len(self)
        return [bool(stream.rng.random() < probability) for stream in self.streams]

    def uniform(self, bounds: tuple[float, float]) -> Tensor:
        """A number per sample, (B,1,1,1)."""
        low, high = bounds
        # Cheaper than Generator.uniform, of which a recipe would call dozens.
        values = [low + (high - low) * stream.rng.random() for stream in self.streams]
        return self.tensor(values)

    def choose(self, options: Sequence[Choice]) -> list[Choice]:
        """One of `options` per sample, drawn evenly."""
        if len(options) == 1:
            return [options[0]] * len(self)
        return [options[int(stream.rng.random() * len(options))] for stream in self.streams]

    def normal(self, shape: tuple[int, int, int], gray_probability: float = 0.0) -> Tensor:
        """Standard normal noise (B, *shape), the same in all bands of a gray sample."""
        noise = torch.empty((len(self), *shape), device=self.device)
        for image, stream, gray in zip(
            noise, self.streams, self.chance_of_gray(gray_probability), strict=True
        ):
            if gray:
                image[:1].normal_(generator=stream.noise)
                image[1:] = image[:1]
            else:
                image.normal_(generator=stream.noise)
        return noise

    def chance_of_gray(self, probability: float) -> list[bool]:
        return self.chance(probability) if probability else [False] * len(self)

    def whole(self, bounds: tuple[int, int]) -> list[int]:
        """A whole number per sample, both bounds among them."""
        low, high = bounds
        return [low + int(stream.rng.random() * (high + 1 - low)) for stream in self.streams]

    def tensor(self, values: ArrayLike) -> Tensor:
        """A number per sample on the device, (B,1,1,1)."""
        content = torch.from_numpy(np.asarray(values, np.float32))
        return content.to(self.device).view(-1, 1, 1, 1)

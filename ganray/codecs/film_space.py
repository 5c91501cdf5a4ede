"""In which space a generator sees film: as stored, or as light by the curve of log negatives.

The curve is a table of all code values, ascending, so that its inverse gives every one of
them back: code values go through untouched. It is Cineon's: a code of 10 bits is 0.002 of
density, the negative's gamma is 0.6. Source: Kodak, "Conversion of 10-bit Log Film Data To
8-bit Linear or Video Data for The Cineon Digital Film System", 1995.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganray.raster.image import Pixels

DENSITY_PER_CODE = 0.002
NEGATIVE_GAMMA = 0.6
LARGEST_CODE = 1023
"""Of the 10 bits in which black and white are told; other depths have theirs in proportion."""

FILM_BLACK, FILM_WHITE = 95.0, 685.0
"""Cineon's recommended codes of 1 % black and of 90 % white."""

Space = Literal["stored", "linear", "display"]


@dataclass(frozen=True)
class LogCurve:
    """Light of code values: 0 at `black`, 1 at `white`, codes of 10 bits.

    In the space "display" light is shown as sRGB has it, which is what most generators have
    been trained on; beyond 0 and 1 its curve goes on.
    """

    black: float
    white: float
    space: Space

    def develop(self, codes: Pixels, bit_depth: int) -> NDArray[np.float32]:
        """The light of code values."""
        table: NDArray[Any] = self._table(bit_depth).astype(np.float32)
        light: NDArray[np.float32] = table[codes]
        return light

    def expose(self, light: Pixels, bit_depth: int) -> Pixels:
        """The code values whose light is nearest: the inverse of `develop`."""
        # In single precision, as the light is: what is not between two codes is the code.
        table = self._table(bit_depth).astype(np.float32).astype(np.float64)
        between = (table[:-1] + table[1:]) / 2
        return np.searchsorted(between, light).astype("uint8" if bit_depth == 8 else "uint16")

    def _table(self, bit_depth: int) -> NDArray[np.float64]:
        codes = np.arange(2**bit_depth) * (LARGEST_CODE / (2**bit_depth - 1))
        per_code = DENSITY_PER_CODE / NEGATIVE_GAMMA
        light = 10 ** ((codes - self.white) * per_code)
        flare = 10 ** ((self.black - self.white) * per_code)
        linear: NDArray[np.float64] = (light - flare) / (1 - flare)
        return _srgb(linear) if self.space == "display" else linear


def _srgb(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """IEC 61966-2-1; below its straight part, that goes on."""
    curved = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved)

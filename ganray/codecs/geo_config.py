"""How georeferenced rasters are read, and which of their values and bands a generator gets."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from ganray.config import Section

BandNumber = Annotated[int, Field(ge=1)]


class GeoConfig(Section):
    """GeoTIFF and COG through GDAL."""

    values: Literal["type", "fixed", "percentiles"] = "type"
    """Which stored values are 0 and 1 to a generator: `type`, all that the type holds, unknown for
    floats; `fixed`, those of low and high; `percentiles`, those of each scene, found once from a
    sample of it."""
    low: float | tuple[float, ...] = 0.0
    """For values=fixed: the stored value that is 0, of all bands or a list, one for each but
    alpha."""
    high: float | tuple[float, ...] = 10000.0
    """For values=fixed: the stored value that is 1; 10000 is that of most reflectances."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """For values=percentiles: between which two of each band, 0-100."""
    bands: Literal["all", "each"] | tuple[BandNumber, ...] = "all"
    """What a generator gets: `all` bands but alpha, which have to be as many as its own; the bands
    of these numbers, from 1 in their order, while the others are magnified by interpolation; or
    `each` by itself, for a generator of one band, or of three that all get the same."""
    stac: bool = False
    """Write a STAC item beside each restored scene."""
    max_bands: Annotated[int, Field(ge=1, le=65535)] = 512
    """Rasters of more bands are refused."""
    cache_bytes: Annotated[int, Field(ge=1 << 20)] = 64 << 20
    """Decoded tiles that GDAL keeps per process."""

    @model_validator(mode="after")
    def _in_order(self) -> "GeoConfig":
        below, above = self.percentiles
        if not 0 <= below < above <= 100:
            raise ValueError(f"percentiles {below} and {above}; expected 0-100 in ascending order")
        low, high = (np.array(values) for values in as_many(self.low, self.high))
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(f"low {self.low} and high {self.high}; expected low below high")
        return self


def as_many(
    low: float | tuple[float, ...], high: float | tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A low and a high value for each band, of which either may have been given once for all."""
    lows = low if isinstance(low, tuple) else (low,)
    highs = high if isinstance(high, tuple) else (high,)
    length = max(len(lows), len(highs))
    lows, highs = (v * length if len(v) == 1 else v for v in (lows, highs))
    if not len(lows) == len(highs) == length > 0:
        raise ValueError(f"{len(lows)} values of low and {len(highs)} of high; expected as many")
    return lows, highs

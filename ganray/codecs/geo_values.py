"""Which stored values of a raster are 0 and 1 to a generator: one pair per band and scene."""

import numpy as np

from ganray.codecs.geo_config import GeoConfig, as_many
from ganray.errors import UnsupportedImageError
from ganray.raster.image import ValueRange
from ganray.raster.validity import MaskedPixels, Validity


def fixed_range(config: GeoConfig, bands: tuple[str, ...], dtype: str) -> ValueRange:
    """The configured pair, or one for each band. Raises UnsupportedImageError."""
    if isinstance(config.low, float) and isinstance(config.high, float):
        return config.low, config.high
    pairs = list(zip(*as_many(config.low, config.high), strict=True))
    colour = [band for band in bands if band != "alpha"]
    if len(pairs) != len(colour):
        raise UnsupportedImageError(
            f"{len(colour)} bands besides alpha; geo.low and geo.high are lists of {len(pairs)}"
        )
    found = iter(pairs)
    return tuple(_largest(dtype) if band == "alpha" else next(found) for band in bands)


def type_range(dtype: str, num_bits: int | None) -> ValueRange | None:
    """All values that a type holds, or that many bits of it; None for floats."""
    if dtype == "float32":
        return None
    if num_bits:
        return 0.0, float(2**num_bits - 1)
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def percentile_range(
    sample: MaskedPixels, validity: Validity, percentiles: tuple[float, float]
) -> tuple[tuple[float, float], ...]:
    """A pair for each band of a sample (C,H,W), from the pixels that have a value."""
    valid = validity.bands(sample.pixels, sample.mask)
    pairs = []
    for number, band in enumerate(sample.pixels):
        values = band if valid is None else band[valid[number]]
        if number == validity.alpha or not values.size:
            pairs.append(_largest(str(band.dtype)))
            continue
        low, high = np.percentile(values.astype(np.float64), percentiles)
        # Of one value alone no contrast can be made; a float32 has to tell the two apart.
        next_value = float(np.nextafter(np.float32(low), np.float32(np.inf)))
        is_flat = np.float32(high) <= np.float32(low)
        pairs.append((float(low), max(float(low) + 1, next_value) if is_flat else float(high)))
    return tuple(pairs)


def _largest(dtype: str) -> tuple[float, float]:
    """0 to 1 for a band that has no values of its own to go by."""
    return 0.0, 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)

"""Stored values as 8 bits to look at: the same levels for an input and what became of it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganray.codecs.dicom_profile import DicomDetails
from ganray.codecs.files import FILM_FORMATS, RASTER
from ganray.codecs.geo_config import GeoConfig
from ganray.raster.image import Image, Profile
from ganray.report.encoding import Picture

PERCENTILES = (0.5, 99.5)
RASTER_PERCENTILES = (2.0, 98.0)
MOST_SAMPLES = 1 << 20
DISPLAY_GAMMA = 2.2
PAPER, NO_VALUE = 255, 200
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True)
class Levels:
    """Which bands are shown, and per shown band the stored values that are black and white.

    `gamma` is that of linear light; `inverted` shows the smallest value white. `described` says in
    words what was done, and is empty where pixels are shown as they are stored.
    """

    bands: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    gamma: float = 1.0
    inverted: bool = False
    described: str = ""


def find_levels(image: Image, geo: GeoConfig) -> Levels:
    """The levels by which an image is shown: its own 8 bits, a DICOM object's window, or
    percentiles of its values."""
    profile = image.profile
    bands = _shown_bands(profile, geo)
    names = _names(bands, profile)
    if profile.dtype == "uint8":
        return Levels(bands, (0.0,) * len(bands), (255.0,) * len(bands), described=names)
    if profile.codec == "dicom" and (window := _window(profile)) is not None:
        return Levels(
            bands, window[:1], window[1:], inverted=_is_negative(profile),
            described="shown by its window",
        )  # fmt: skip
    low, high = _percentiles(image, bands, each=profile.codec == RASTER)
    is_light = profile.codec in FILM_FORMATS and np.dtype(profile.dtype).kind == "f"
    said = f"{names}, " * bool(names) + "shown between percentiles of its values"
    return Levels(bands, low, high, DISPLAY_GAMMA if is_light else 1.0, _is_negative(profile), said)


def to_picture(image: Image, levels: Levels) -> Picture:
    """An image at its levels, (H,W,3) or (H,W); pixels without a value are gray, transparent
    ones paper."""
    shown = image.pixels[list(levels.bands)].astype(np.float32)
    low = np.asarray(levels.low, np.float32)[:, None, None]
    high = np.asarray(levels.high, np.float32)[:, None, None]
    with np.errstate(invalid="ignore"):
        unit = np.clip((shown - low) / (high - low), 0, 1)
    invalid = ~np.isfinite(shown).all(0)
    unit = np.nan_to_num(unit) ** np.float32(1 / levels.gamma)
    values = np.rint((1 - unit if levels.inverted else unit) * 255)
    values = _on_paper(values, image)
    if image.mask is not None:
        invalid |= ~image.mask
    values[:, invalid] = NO_VALUE
    picture = values.astype(np.uint8)
    return picture[0] if len(picture) == 1 else np.ascontiguousarray(np.moveaxis(picture, 0, -1))


def _on_paper(values: NDArray[np.float32], image: Image) -> NDArray[np.float32]:
    """What shows through transparent pixels of a picture; a raster's alpha is a mask."""
    alpha, profile = image.profile.alpha, image.profile
    if alpha is None or profile.codec in (RASTER, *FILM_FORMATS):
        return values
    largest = np.iinfo(profile.dtype).max if np.dtype(profile.dtype).kind == "u" else 1
    opacity = image.pixels[alpha].astype(np.float32) / largest
    over: NDArray[np.float32] = np.rint(values * opacity + PAPER * (1 - opacity))
    return over


def _shown_bands(profile: Profile, geo: GeoConfig) -> tuple[int, ...]:
    """Red, green and blue, or what the generator was given, or the first three; else the first."""
    names = profile.colorinterp
    if all(colour in names for colour in COLOURS):
        return tuple(names.index(colour) for colour in COLOURS)
    numbers = [band for band in range(profile.num_bands) if band != profile.alpha]
    if profile.codec == RASTER and isinstance(geo.bands, tuple):
        numbers = [band - 1 for band in geo.bands if band <= profile.num_bands] or numbers
    return tuple(numbers[:3] if len(numbers) >= 3 else numbers[:1])


def _names(bands: Sequence[int], profile: Profile) -> str:
    if profile.num_bands <= 4 and profile.codec != RASTER:
        return ""
    if tuple(profile.colorinterp[band] for band in bands) in (COLOURS, ("gray",)):
        return ""
    return "bands " + ", ".join(str(band + 1) for band in bands)


def _percentiles(
    image: Image, bands: Sequence[int], *, each: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Low and high per band; of a raster each has its own, of a picture one pair keeps colours."""
    pixels = image.pixels[list(bands)].astype(np.float64).reshape(len(bands), -1)
    valid = np.isfinite(pixels).all(0)
    if image.mask is not None:
        valid &= image.mask.ravel()
    pixels = pixels[:, valid]
    pixels = pixels[:, :: -(-pixels.shape[1] // MOST_SAMPLES) or 1]
    if not pixels.size:
        return (0.0,) * len(bands), (1.0,) * len(bands)
    percentiles = RASTER_PERCENTILES if each else PERCENTILES
    if each:
        low, high = np.percentile(pixels, percentiles, axis=1)
    else:
        low, high = (np.full(len(bands), v) for v in np.percentile(pixels, percentiles))
    return tuple(low.tolist()), tuple(np.where(high > low, high, low + 1).tolist())


def _window(profile: Profile) -> tuple[float, float] | None:
    """The stored values that the object's first window shows black and white (PS3.3 C.11.2)."""
    centre, width = _first_number(profile, "window_center"), _first_number(profile, "window_width")
    slope = _first_number(profile, "rescale_slope") or 1.0
    offset = _first_number(profile, "rescale_intercept") or 0.0
    if centre is None or width is None or width <= 1 or profile.num_bands > 1:
        return None
    low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return (low - offset) / slope, (high - offset) / slope


def _first_number(profile: Profile, name: str) -> float | None:
    text = _described(profile).get(name)
    found = re.search(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", str(text)) if text is not None else None
    return float(found[0]) if found else None


def _is_negative(profile: Profile) -> bool:
    return _described(profile).get("photometric") == "MONOCHROME1"


def _described(profile: Profile) -> Mapping[str, object]:
    details = profile.details
    return details.described if isinstance(details, DicomDetails) else {}

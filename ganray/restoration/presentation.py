"""How an image's bands are shown to a generator: an image of N bands, one of few."""

from typing import Literal

from ganray.errors import RestorationError
from ganray.raster.image import Profile
from ganray.restoration.canvas import Part

Bands = Literal["all", "each"] | tuple[int, ...]
"""`all` bands but alpha at once, `each` by itself, or those of these numbers, from 1."""


def choose_parts(profile: Profile, bands: Bands, expected: int) -> tuple[Part, ...]:
    """The parts that a generator for `expected` bands restores, or that are only magnified.

    The alpha of a raster is a mask and is repeated, that of a picture restored as gray. Raises
    RestorationError if its bands do not fit.
    """
    alpha = profile.alpha
    colour = tuple(band for band in range(profile.num_bands) if band != alpha)
    is_mask = profile.codec == "geotiff"
    behind = () if alpha is None else (Part((alpha,), "repeat" if is_mask else "restore"),)
    if bands == "each":
        return (*(Part((band,)) for band in colour), *behind)
    if bands == "all":
        require_bands(len(colour), expected)
        return (Part(colour), *behind)
    chosen = tuple(number - 1 for number in bands)
    unknown = [number for number in bands if number - 1 not in colour]
    if unknown or len(set(chosen)) < len(chosen) or len(chosen) not in (1, expected):
        raise RestorationError(
            f"bands={list(bands)} of an image with {len(colour)} bands besides alpha, for a "
            f"generator of {expected}; expected {expected} different numbers from 1 to "
            f"{len(colour)}"
        )
    rest = tuple(band for band in colour if band not in chosen)
    return (Part(chosen), *((Part(rest, "magnify"),) if rest else ()), *behind)


def require_bands(bands: int, expected: int) -> None:
    """Raise RestorationError unless a generator for `expected` bands takes this many of colour."""
    if bands not in (1, expected):
        raise RestorationError(
            f"the image has {bands} colour bands and the generator takes {expected} (or gray); "
            f"of a raster say which it gets, such as geo.bands=[4,3,2] or geo.bands=each, name an "
            f"alpha band by alpha=, or choose a generator for {bands} bands"
        )

"""Pictures of a report: strips of the same picture in several states, bounded in bytes.

A `View` is what was read of one state: the whole, reduced, and spots at full size. `make_strip`
encodes views, so that all of a strip together stay within a number of bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ganray.raster.windows import Box
from ganray.report.encoding import (
    BASE64_GROWTH,
    Encoded,
    Picture,
    encode,
    encode_alike,
    encode_exactly,
)

PREVIEW_SIDE = 960
"""Longest side of the whole as it is shown."""
SPOT_SIDE = 640
"""Longest side of a spot, in pixels of the largest state."""
PREVIEW_SHARE = 0.2
EXACT_SHARES = (1.0, 0.8, 0.65)
"""Of a spot's sides: so much of it is shown if that can be exact."""


@dataclass(frozen=True)
class Spot:
    """A box of a picture that is shown at 1:1, as shares of its width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class View:
    """One state of a picture. `whole` is reduced at most; `spots` are at full size, each of the
    strip's boxes, or empty where `whole` is at full size itself."""

    name: str
    whole: Picture
    spots: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Shown:
    """One state as the page holds it."""

    name: str
    alt: str
    whole: Encoded
    spots: tuple[Encoded, ...]


@dataclass(frozen=True)
class Missing:
    """A state that cannot be shown, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Strip:
    """The states of one picture: two are compared by a slider, of more any two, beside all.

    `width` and `height` are those of the largest state, in pixels; a spot is seen at one pixel
    of that state to a pixel of the page. `notes` stand under the title.
    """

    title: str
    width: int
    height: int
    states: tuple[Shown, ...]
    spots: tuple[Spot, ...] = ()
    notes: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()
    right: int = -1
    """Which state is seen to the right of the slider at first."""
    template: ClassVar[str] = "strip.html"

    @property
    def ratio(self) -> float:
        """Width over height of the frame: extreme pictures leave a margin in it."""
        return min(3.0, max(0.6, self.width / self.height))

    @property
    def exact(self) -> bool:
        """Whether what is seen at 1:1 is pixel by pixel what the files hold."""
        return all(e.exact for s in self.states for e in (s.spots or (s.whole,)))


@dataclass(frozen=True)
class Strips:
    """Several strips, two beside each other where there is room."""

    strips: tuple[Strip, ...]
    template: ClassVar[str] = "strips.html"


@dataclass(frozen=True)
class StripText:
    """What is written at a strip."""

    title: str
    notes: tuple[str, ...] = ()
    missing: tuple[Missing, ...] = ()


def whole_views(pictures: Sequence[tuple[str, Picture]], spots: Sequence[Spot]) -> list[View]:
    """Views of pictures that are in memory: reduced, with their spots cut out.

    Small pictures stay whole, and take no spots.
    """
    if all(max(p.shape[:2]) <= PREVIEW_SIDE for _, p in pictures):
        return [View(name, p) for name, p in pictures]
    return [
        View(name, reduced(p), tuple(p[_cut(spot, p)] for spot in spots)) for name, p in pictures
    ]


def reduced(picture: Picture, side: int = PREVIEW_SIDE) -> Picture:
    """The picture with its longest side at most `side`, by averaging."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest <= side:
        return picture
    size = max(1, round(width * side / longest)), max(1, round(height * side / longest))
    small = PillowImage.fromarray(picture).resize(size, PillowImage.Resampling.BOX, reducing_gap=2)
    return np.asarray(small)


def most_changed(before: Picture, after: Picture, share: tuple[float, float]) -> Spot:
    """The spot of `share` of width and height whose details differ most between two states.

    The mean of each neighbourhood is left out: a shift of colour is everywhere.
    """
    height, width = before.shape[:2]
    resized = PillowImage.fromarray(after).resize((width, height), PillowImage.Resampling.BOX)
    difference = _gray(before) - _gray(np.asarray(resized))
    energy = np.square(difference - _box_mean(difference, 9, 9))
    rows, columns = (max(1, round(n * s)) for n, s in ((height, share[1]), (width, share[0])))
    sums = _window_sums(energy, rows, columns)
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return Spot(float(left) / width, float(top) / height, columns / width, rows / height)


def spot_share(width: int, height: int, side: int = SPOT_SIDE) -> tuple[float, float]:
    """The shares of width and height that a spot takes of a picture of so many pixels."""
    return min(1.0, side / width), min(1.0, side / height)


def box_of(spot: Spot, height: int, width: int) -> Box:
    """The spot in pixels of a state of that size, one at least."""
    top, left = round(spot.top * height), round(spot.left * width)
    return Box(
        min(top, height - 1),
        min(left, width - 1),
        min(height, max(top + 1, round((spot.top + spot.height) * height))),
        min(width, max(left + 1, round((spot.left + spot.width) * width))),
    )


def make_strip(
    text: StripText,
    views: Sequence[View],
    size: tuple[int, int],
    spots: Sequence[Spot],
    *,
    max_bytes: int,
) -> Strip:
    """Encode views within `max_bytes` of the page; `size` is width and height of the largest.

    Spots are exact wherever possible, somewhat smaller if need be: what compression adds could be
    taken for the restorer's work. Raises ReportError if the bytes do not suffice for anything.
    """
    allowed = int(max_bytes / BASE64_GROWTH)
    if not any(view.spots for view in views):
        wholes = encode_alike([view.whole for view in views], allowed)
        states = [_shown(v, text.title, e) for v, e in zip(views, wholes, strict=True)]
        return Strip(text.title, *size, tuple(states), (), text.notes, text.missing)
    each = int(allowed * PREVIEW_SHARE) // len(views)
    previews = [encode(view.whole, each) for view in views]
    kept, cuts = _encode_spots(views, spots, int(allowed * (1 - PREVIEW_SHARE)))
    states = [_shown(v, text.title, p, c) for v, p, c in zip(views, previews, cuts, strict=True)]
    return Strip(text.title, *size, tuple(states), kept, text.notes, text.missing)


def snapped(spot: Spot, height: int, width: int) -> Spot:
    """The spot at whole pixels of a state of that size, and so of all multiples of it."""
    box = box_of(spot, height, width)
    return Spot(box.left / width, box.top / height, box.width / width, box.height / height)


def _shown(view: View, title: str, whole: Encoded, spots: tuple[Encoded, ...] = ()) -> Shown:
    return Shown(view.name, f"{view.name}: {title}", whole, spots)


def _encode_spots(
    views: Sequence[View], spots: Sequence[Spot], max_bytes: int
) -> tuple[tuple[Spot, ...], list[tuple[Encoded, ...]]]:
    """The spots that are shown, and each view's pictures of them."""
    # Margins of whole pixels in the smallest state are so in all of its multiples.
    coarsest = [min(view.spots[n].shape[:2] for view in views) for n in range(len(spots))]
    for share in EXACT_SHARES:
        inner = [
            snapped(Spot((1 - share) / 2, (1 - share) / 2, share, share), *shape)
            for shape in coarsest
        ]
        pictures = [
            p[_cut(part, p)] for view in views for part, p in zip(inner, view.spots, strict=True)
        ]
        exact = encode_exactly(pictures, max_bytes)
        if exact is not None:
            kept = tuple(_within(s, part) for s, part in zip(spots, inner, strict=True))
            return kept, _grouped(exact, len(spots))
    everything = [picture for view in views for picture in view.spots]
    return tuple(spots), _grouped(encode_alike(everything, max_bytes), len(spots))


def _within(spot: Spot, part: Spot) -> Spot:
    """A part of a spot, as shares of the picture rather than of the spot."""
    return Spot(
        spot.left + part.left * spot.width,
        spot.top + part.top * spot.height,
        part.width * spot.width,
        part.height * spot.height,
    )


def _grouped(encoded: Sequence[Encoded], size: int) -> list[tuple[Encoded, ...]]:
    return [tuple(encoded[start : start + size]) for start in range(0, len(encoded), size)]


def _cut(spot: Spot, picture: Picture) -> tuple[slice, slice]:
    box = box_of(spot, *picture.shape[:2])
    return slice(box.top, box.bottom), slice(box.left, box.right)


def _gray(picture: Picture) -> NDArray[np.float64]:
    return picture.astype(np.float64).mean(axis=-1) if picture.ndim == 3 else picture.astype(float)


def _window_sums(values: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Sums over every window of that shape."""
    table = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    sums: NDArray[np.float64] = (
        table[rows:, columns:] - table[:-rows, columns:] - table[rows:, :-columns]
        + table[:-rows, :-columns]
    )  # fmt: skip
    return sums


def _box_mean(values: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    padded = np.pad(values, ((rows // 2, rows // 2), (columns // 2, columns // 2)), "edge")
    return _window_sums(padded, rows, columns) / (rows * columns)

"""Pictures of a report: strips of the same picture in several states, bounded in bytes.

A `View` is what was read of one state: the whole, reduced, and spots at full size. `make_strip`
encodes views, so that all of a strip together stay within a number of bytes.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ganray.errors import ReportError
from ganray.raster.windows import Box

Picture = NDArray[np.uint8]
"""8 bits, (H,W) or (H,W,3)."""

PREVIEW_SIDE = 960
"""Longest side of the whole as it is shown."""
SPOT_SIDE = 640
"""Longest side of a spot, in pixels of the largest state."""
QUALITIES = (90, 75, 55, 30)
PREVIEW_SHARE = 0.35
SHRINKING = 0.7
SMALLEST_SIDE = 64
BASE64_GROWTH = 4 / 3


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
class Encoded:
    """A picture as a data: URI; `exact` says that its pixels are those that were given."""

    uri: str
    width: int
    height: int
    exact: bool


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
    text: StripText, views: Sequence[View], size: tuple[int, int], spots: Sequence[Spot],
    *, max_bytes: int,
) -> Strip:  # fmt: skip
    """Encode views within `max_bytes` of the page; `size` is width and height of the largest.

    Raises ReportError if the bytes do not suffice for anything to be seen.
    """
    each = int(max_bytes / BASE64_GROWTH / max(1, len(views)))
    states = tuple(_encode_view(view, text.title, each) for view in views)
    kept = tuple(spots) if any(state.spots for state in states) else ()
    return Strip(text.title, *size, states, kept, text.notes, text.missing)


def _encode_view(view: View, title: str, max_bytes: int) -> Shown:
    alt = f"{view.name}: {title}"
    if not view.spots:
        return Shown(view.name, alt, encode(view.whole, max_bytes), ())
    preview = encode(view.whole, int(max_bytes * PREVIEW_SHARE), exact=False)
    each = int(max_bytes * (1 - PREVIEW_SHARE)) // len(view.spots)
    return Shown(view.name, alt, preview, tuple(encode(spot, each) for spot in view.spots))


def encode(picture: Picture, max_bytes: int, *, exact: bool = True) -> Encoded:
    """A picture as WebP within so many bytes: exact if that fits, else lossy, then smaller.

    Raises ReportError if even a thumbnail does not fit.
    """
    image = PillowImage.fromarray(picture)
    for data, is_exact in _attempts(image, exact=exact):
        if len(data) <= max_bytes:
            text = base64.b64encode(data).decode()
            return Encoded(f"data:image/webp;base64,{text}", *image.size, is_exact)
    raise ReportError(f"a picture does not fit into {max_bytes} bytes; show fewer of them")


def _attempts(image: PillowImage.Image, *, exact: bool) -> Iterator[tuple[bytes, bool]]:
    if exact:
        yield _webp(image, lossless=True), True
    while True:
        for quality in QUALITIES:
            yield _webp(image, quality=quality), False
        size = tuple(max(1, int(length * SHRINKING)) for length in image.size)
        if max(size) < SMALLEST_SIDE:
            return
        image = image.resize((size[0], size[1]), PillowImage.Resampling.BOX)


def _webp(image: PillowImage.Image, *, lossless: bool = False, quality: int = 100) -> bytes:
    buffer = io.BytesIO()
    # Without loss `quality` is effort: none takes a tenth of the time and a few more bytes.
    effort = {"lossless": True, "quality": 0, "method": 0} if lossless else {"quality": quality}
    image.save(buffer, "WEBP", **({"method": 3} | effort))
    return buffer.getvalue()


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

"""What became of one input, as a strip; each call is made for a process that may be ended.

What is small is shown whole, of what is large the middle; of a film one frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ganray.codecs.catalog import Codecs, is_video
from ganray.codecs.geo import GeoWindows, is_geo
from ganray.codecs.geo_footprint import footprint
from ganray.codecs.geo_profile import GeoDetails
from ganray.codecs.video import VideoSource
from ganray.codecs.video_sample import frame_at, middle_frame
from ganray.errors import CodecError, MissingExtraError, StorageError
from ganray.raster.image import Image
from ganray.report.footprints import Outline
from ganray.report.levels import find_levels, to_picture
from ganray.report.pictures import (
    Strip,
    StripText,
    make_strip,
    most_changed,
    reduced,
    snapped,
    spot_share,
    whole_views,
)
from ganray.report.regions import opened, read_both
from ganray.storage import Store, open_store

NO_LIMIT = 2**63
BEFORE, AFTER = "Input", "Restored"


@dataclass(frozen=True)
class Pair:
    """An input in the store of `source`, its output in that of `target`, and what is said of
    them."""

    source: str
    key: str
    target: str
    output: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bounds:
    """What showing one pair may take: pixels of the input, and bytes of the page."""

    pixels: int
    bytes: int


def show_pair(pair: Pair, codecs: Codecs, bounds: Bounds) -> Strip:
    """The strip of an input and its restoration, both at the levels of the input.

    Raises CodecError, StorageError or ReportError.
    """
    before, after, said = _read_pair(pair, codecs, bounds.pixels)
    levels = find_levels(before, codecs.geo)
    pictures = [(BEFORE, to_picture(before, levels)), (AFTER, to_picture(after, levels))]
    height, width = after.pixels.shape[1:]
    changed = most_changed(
        reduced(pictures[0][1]), reduced(pictures[1][1]), spot_share(width, height)
    )
    changed = snapped(changed, *before.pixels.shape[1:])
    notes = (*pair.notes, *(text for text in (said, levels.described) if text))
    views = whole_views(pictures, [changed])
    text = StripText(pair.key, notes)
    return make_strip(text, views, (width, height), [changed], max_bytes=bounds.bytes)


def find_outlines(uri: str, keys: Sequence[str], codecs: Codecs) -> list[Outline]:
    """The footprints of those TIFFs that say where they lie; others are left out."""
    store = open_store(uri)
    found = (_outline(store, key, codecs) for key in keys)
    return [outline for outline in found if outline is not None]


def _read_pair(pair: Pair, codecs: Codecs, max_pixels: int) -> tuple[Image, Image, str]:
    """Both images, of the same part of the picture, and a word on which part that is."""
    source, target = open_store(pair.source), open_store(pair.target)
    if is_video(pair.key):
        film = VideoSource(source, pair.key)
        before, seconds = middle_frame(film, codecs.video, max_pixels=max_pixels)
        restored = VideoSource(target, pair.output)
        after = frame_at(restored, codecs.video, seconds, max_pixels=NO_LIMIT)
        return before, after, f"the frame at {seconds:.2f} s"
    with (
        opened(source, pair.key, codecs, max_pixels) as first,
        opened(target, pair.output, codecs, NO_LIMIT) as second,
    ):
        before, after, is_whole = read_both(first, second)
        return before, after, "" if is_whole else f"the middle of {second.width}×{second.height}"


def _outline(store: Store, key: str, codecs: Codecs) -> Outline | None:
    try:
        if not is_geo(store, key):
            return None
        raster = GeoWindows(store, key, codecs.geo.model_copy(update={"values": "type"}))
        try:
            details, height, width = raster.profile.details, raster.height, raster.width
        finally:
            raster.close()
    except (CodecError, MissingExtraError, StorageError):
        return None
    assert isinstance(details, GeoDetails)
    found = footprint(details, height, width)
    return Outline(found.geometry, key) if found else None

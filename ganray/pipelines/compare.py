"""The compare command: a page on which a few files of one picture are held against each other."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from ganray.errors import ConfigError
from ganray.pipelines.archives import require_unread
from ganray.pipelines.picture_files import picture_of, read_pixels, short_names
from ganray.raster.image import FloatPixels
from ganray.raster.resample import resize
from ganray.report.encoding import Picture
from ganray.report.page import Page, Section, render_page
from ganray.report.parts import Facts
from ganray.report.pictures import (
    Spot,
    StripText,
    make_strip,
    most_changed,
    spot_share,
    whole_views,
)
from ganray.storage import write_uri

MOST_FILES = 8
MOST_BYTES = 12 * 2**20
MOST_SPOTS = 3


def write_comparison(files: Sequence[str], output: str) -> None:
    """Read the files, bring them to one size, write the page. Raises GanrayError."""
    _require_files(files, output)
    found = [read_pixels(uri) for uri in files]
    names = _names(files)
    sizes = [f"{pixels.shape[2]}x{pixels.shape[1]} pixels" for pixels in found]
    pictures = list(zip(names, map(picture_of, _alike(files, found)), strict=True))
    height, width = pictures[0][1].shape[:2]
    spots = _spots([picture for _, picture in pictures], spot_share(width, height))
    title = " · ".join(names)
    views = whole_views(pictures, spots)
    strip = make_strip(StripText(title), views, (width, height), spots, max_bytes=MOST_BYTES)
    lead = "Move the slider; click a picture for 1:1."
    if len(set(sizes)) > 1:
        lead += " Smaller pictures are magnified by bicubic."
    sections = (
        Section("Pictures", (strip,), lead),
        Section("Files", (Facts(tuple(zip(files, sizes, strict=True))),)),
    )
    page = Page(kind="comparison", title=title, sections=sections)
    write_uri(output, render_page(page).encode())


def _require_files(files: Sequence[str], output: str) -> None:
    if not 2 <= len(files) <= MOST_FILES:
        raise ConfigError(f"{len(files)} files; expected 2 to {MOST_FILES} of the same picture")
    require_unread(output, files)


def _names(files: Sequence[str]) -> list[str]:
    """Short names that tell the files apart."""
    names = [PurePosixPath(uri).name for uri in files]
    told = names if len(set(names)) == len(names) else files
    return short_names(told)


def _alike(files: Sequence[str], found: Sequence[FloatPixels]) -> list[FloatPixels]:
    """All pixels at the size of the largest. Raises ConfigError unless factors are whole."""
    place = max(range(len(found)), key=lambda i: found[i].shape[1] * found[i].shape[2])
    _, height, width = found[place].shape
    alike = []
    for uri, pixels in zip(files, found, strict=True):
        _, lower, narrower = pixels.shape
        factor = height // lower
        if (height, width) != (factor * lower, factor * narrower):
            raise ConfigError(
                f"{uri} has {narrower}x{lower} pixels and {files[place]} {width}x{height}; "
                "expected the same, or a whole number of times as many each way: give files of one "
                "picture"
            )
        alike.append(pixels if factor == 1 else resize(pixels, height, width))
    return alike


def _spots(pictures: Sequence[Picture], share: tuple[float, float]) -> list[Spot]:
    """Where each of the others departs most from the first."""
    spots = [most_changed(pictures[0], other, share) for other in pictures[1:]]
    return list(dict.fromkeys(spots))[:MOST_SPOTS]

"""Reading a large TIFF window by window, by ranges of bytes: never the whole file.

Tiles are what this is made for. A strip is as wide as the image, so that each window of a
row reads all strips of that row. Photographs of `photo.py`'s kinds and 16-bit colour; what
cannot be kept is refused by name.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from ganray.codecs.store_blocks import GAP_BYTES, REQUEST_BYTES, HeaderReader, Readable
from ganray.codecs.tiff_decoding import decode_segment
from ganray.codecs.tiff_directories import TagValues, open_tiff
from ganray.codecs.tiff_metadata import FoundMetadata, find_metadata
from ganray.codecs.tiff_pages import refuse_pages
from ganray.codecs.tiff_samples import JPEG, WHITE_IS_ZERO, Samples, parse_samples
from ganray.codecs.tiff_segments import Segment, parse_segments
from ganray.codecs.tiff_tags import Code
from ganray.codecs.tiff_tiles import separate
from ganray.errors import UndecodableError
from ganray.raster.image import Pixels, Profile
from ganray.raster.windows import Box, place


class TiffWindows:
    """A TIFF in a store, for one thread. It is not held open: nothing has to be closed.

    Raises UndecodableError or UnsupportedImageError; a file that ends too early is found here,
    damaged pixels when they are read. One that is not upright is refused, unless it
    `may_be_turned`: all here is as it is stored, and `orientation`, 1 to 8, says what to do.
    """

    def __init__(self, store: Readable, key: str, *, may_be_turned: bool = False) -> None:
        self._store = store
        self._key = key
        num_bytes = store.stat(key).num_bytes
        tiff = open_tiff(HeaderReader(store, key, num_bytes).read)
        lost = refuse_pages(tiff, may_be_turned=may_be_turned)
        values = TagValues(tiff, tiff.first_directory)
        self._samples = parse_samples(values)
        self._segments = parse_segments(values, self._samples, num_bytes)
        self.height = self._segments.image_height
        self.width = self._segments.image_width
        orientation = values.number(Code.ORIENTATION, 1)
        self.orientation = orientation if 1 <= orientation <= 8 else 1
        self.profile = _profile(self._samples, find_metadata(tiff), lost)

    @property
    def num_pixels(self) -> int:
        return self.height * self.width

    def read(self, box: Box) -> Pixels:
        """The pixels (C,h,w) of a box inside the image.

        Raises UndecodableError. Memory is that of the result, of a request and of one tile or
        strip.
        """
        inside = (
            0 <= box.top < box.bottom <= self.height and 0 <= box.left < box.right <= self.width
        )
        assert inside, f"{box} is not inside {self.height}x{self.width}"
        shape = (len(self._samples.bands), box.height, box.width)
        pixels: Pixels = np.empty(shape, self._samples.dtype)
        for group in _grouped(self._segments.within(box)):
            start, end = group[0].start, max(segment.end for segment in group)
            data = self._store.read(self._key, start, end)
            if len(data) != end - start:
                raise UndecodableError(f"the file ends before byte {end}: changed or truncated")
            for segment in group:
                self._place(pixels, box, segment, data[segment.start - start : segment.end - start])
        if self._samples.photometric == WHITE_IS_ZERO:
            np.invert(pixels[:1], out=pixels[:1])
        return pixels

    def _place(self, pixels: Pixels, box: Box, segment: Segment, data: bytes) -> None:
        shape = (self._segments.height, self._segments.width, self._samples.segment_bands)
        decoded = decode_segment(self._samples, data, shape, segment.num_rows)
        shared = segment.box.intersect(box)
        source = shared.shift(segment.box.top, segment.box.left)
        target = shared.shift(box.top, box.left)
        planes = pixels if segment.band is None else pixels[segment.band : segment.band + 1]
        inside = decoded[source.top : source.bottom, source.left : source.right]
        place(planes, separate(inside), target)


def _profile(samples: Samples, found: FoundMetadata, lost: tuple[str, ...]) -> Profile:
    return Profile(
        codec="tiff",
        dtype=samples.dtype,
        bit_depth=8 * np.dtype(samples.dtype).itemsize,
        colorinterp=samples.bands,
        resolution=found.resolution,
        icc=found.icc,
        exif=found.exif,
        xmp=found.xmp,
        lossless=samples.compression != JPEG,
        lost=lost + found.lost,
    )


def _grouped(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    """Segments that one request reads together, since they are close to each other in the file."""
    group: list[Segment] = []
    end = 0
    for segment in sorted(segments, key=lambda segment: segment.start):
        if group and (
            segment.start > end + GAP_BYTES or segment.end - group[0].start > REQUEST_BYTES
        ):
            yield group
            group = []
        group.append(segment)
        end = max(end, segment.end)
    if group:
        yield group

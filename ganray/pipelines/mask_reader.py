"""The masks of lost pixels that stand beside an archive, read as its images are.

By the same codecs, limits and processes; pixels are in the order in which they are stored, as
those of images are. What is not clearly a mask of its image is refused: nothing is restored by
half a mask, or as if nothing were lost.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ganray.codecs.catalog import is_tiff
from ganray.codecs.files import probe_file
from ganray.codecs.geo_config import GeoConfig
from ganray.errors import CodecError, NotFoundError, UnsupportedImageError
from ganray.pipelines.archive_windows import ArchiveWindows
from ganray.pipelines.masks import mask_key
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_orders import Reader
from ganray.pipelines.scenes import BYTES_PER_PIXEL, Call, describe_in, reader_of, require_bytes
from ganray.raster.image import Pixels, Profile
from ganray.raster.validity import Mask
from ganray.raster.windows import Box
from ganray.storage import ObjectInfo, Store, open_store

EXPECTED = "expected gray, or colours without hue, and not 0 where a pixel is lost"


@dataclass(frozen=True)
class _Header:
    """Who reads a mask, and which of its bands is alpha."""

    reader: Reader
    alpha: int | None


class MaskReader:
    """Of all threads of a worker; `call` calls a codec, see `ArchiveWindows`.

    Raises CodecError, which names the mask, for one that is missing or does not fit its image.
    """

    def __init__(self, config: RestoreConfig, call: Call, *, isolated: bool) -> None:
        # Which values a generator is shown, and which bands, is said of images.
        geo = GeoConfig(max_bands=config.geo.max_bands, cache_bytes=config.geo.cache_bytes)
        self._config = config.model_copy(update={"geo": geo})
        self._call = call
        self._store: Store = open_store(config.masks)
        self._windows = ArchiveWindows(self._store, self._config, call, isolated=isolated)
        self._known: tuple[str, _Header] | None = None

    def whole(self, key: str, height: int, width: int) -> Mask:
        """Where an image has lost its pixels, (height,width)."""
        name = mask_key(key)
        with _naming(name):
            header = self._describe(name, (height, width))
            if header.reader == "whole":
                pixels = self._windows.decode(name, self._store.read(name)).pixels
            else:
                box = Box(0, 0, height, width)
                pixels = self._windows.read(name, header.reader, box).pixels
            return lost_pixels(pixels, header.alpha)

    def window(self, key: str, shape: tuple[int, int], box: Box) -> Mask:
        """Where an image of this height and width has lost those inside a box."""
        name = mask_key(key)
        with _naming(name):
            known = self._known
            if known is None or known[0] != name:
                # Windows of one scene come one after the other.
                self._known = known = name, self._describe(name, shape)
            header = known[1]
            return lost_pixels(self._windows.read(name, header.reader, box).pixels, header.alpha)

    def _describe(self, name: str, shape: tuple[int, int]) -> _Header:
        """What a mask's header says, and that it fits an image of this height and width."""
        info = self._find(name)
        require_bytes(info, self._config.limits.bytes)
        reader: Reader = reader_of(self._store, name) if is_tiff(name) else "whole"
        try:
            found = self._probe(info, reader)
        except UnsupportedImageError:
            if reader != "tiff":
                raise
            # Read whole by another library, such as one of 1 bit.
            reader = "whole"
            found = self._probe(info, reader)
        profile, *sides = found
        if tuple(sides) != shape:
            raise UnsupportedImageError(
                f"{sides[1]}x{sides[0]}; expected {shape[1]}x{shape[0]} as its image: make it of "
                "the pixels as they are stored, not as EXIF turns them"
            )
        if not profile.lossless:
            raise UnsupportedImageError(
                "lossily compressed, so that 0 is no longer 0; draw it anew and save it as PNG"
            )
        return _Header(reader, profile.alpha)

    def _find(self, name: str) -> ObjectInfo:
        try:
            return self._store.stat(name)
        except NotFoundError:
            raise UnsupportedImageError(
                f"missing in {self._config.masks}; put it there, black where nothing is lost, or "
                "leave its image out with exclude"
            ) from None

    def _probe(self, info: ObjectInfo, reader: Reader) -> tuple[Profile, int, int]:
        config = self._config
        if reader != "whole":
            return describe_in(self._store.uri, info.key, reader, config.geo, self._call)
        require_bytes(info, config.limits.pixels * BYTES_PER_PIXEL, "limits.pixels")
        data = self._store.read(info.key)
        profile, height, width = self._call(probe_file, info.key, data, config.codecs)
        return profile, height, width


def lost_pixels(pixels: Pixels, alpha: int | None) -> Mask:
    """Where a mask (C,H,W) is not 0, (H,W).

    Raises UnsupportedImageError if its bands say different things: colours that have a hue, or an
    alpha that is not opaque everywhere.
    """
    if pixels.dtype.kind == "f":
        raise UnsupportedImageError(f"of floats; {EXPECTED}, in whole numbers")
    if alpha is not None and (pixels[alpha] != np.iinfo(str(pixels.dtype)).max).any():
        raise UnsupportedImageError(f"transparent in places; {EXPECTED}, without alpha")
    first, *others = (band for index, band in enumerate(pixels) if index != alpha)
    if any((band != first).any() for band in others):
        raise UnsupportedImageError(f"of colours; {EXPECTED}")
    lost: Mask = first != 0
    return lost


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say of what a mask is refused by that it is the mask, in an error of the same kind."""
    try:
        yield
    except CodecError as error:
        raise type(error)(f"its mask {name}: {error}") from error

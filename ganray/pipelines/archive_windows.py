"""Windows of the images of an archive: by ranges where a format allows it, or of a decoded copy."""

import threading
from typing import cast

from ganray.codecs.files import decode_file
from ganray.codecs.geo import GeoWindows, read_geo_box
from ganray.codecs.tiff_remote import read_tiff_box
from ganray.codecs.tiff_windows import TiffWindows
from ganray.pipelines.restore_config import RestoreConfig
from ganray.pipelines.restore_orders import Reader
from ganray.pipelines.scenes import Call
from ganray.raster.image import Image, Pixels
from ganray.raster.validity import MaskedPixels
from ganray.raster.windows import Box, crop
from ganray.storage import Store


class ArchiveWindows:
    """For all threads of a worker; each keeps the file open that it has read last.

    `call` calls a codec. With `isolated` it does so in another process, which keeps nothing open.
    """

    def __init__(self, store: Store, config: RestoreConfig, call: Call, *, isolated: bool) -> None:
        self._store = store
        self._config = config
        self._call = call
        self._isolated = isolated
        self._own = threading.local()
        self._decoding = threading.Lock()
        self._decoded: tuple[str, Pixels] | None = None

    def read(self, key: str, reader: Reader, box: Box) -> MaskedPixels:
        """Pixels of an image inside `box`, and where they are valid: of a TIFF by ranges, of others
        from a copy that is kept decoded."""
        if reader == "whole":
            return MaskedPixels(crop(self._kept(key), box))
        if reader == "tiff":
            return MaskedPixels(self._tiff_window(key, box))
        if self._isolated:
            found = self._call(read_geo_box, self._store.uri, key, box, self._config.geo)
            return cast(MaskedPixels, found)
        if getattr(self._own, "raster_key", "") != key:
            if hasattr(self._own, "raster"):
                self._own.raster.close()
            self._own.raster = GeoWindows(self._store, key, self._config.geo)
            self._own.raster_key = key
        raster: GeoWindows = self._own.raster
        return raster.read(box)

    def _tiff_window(self, key: str, box: Box) -> Pixels:
        if self._isolated:
            return cast(Pixels, self._call(read_tiff_box, self._store.uri, key, box))
        if getattr(self._own, "tiff_key", "") != key:
            self._own.tiff = TiffWindows(self._store, key)
            self._own.tiff_key = key
        picture: TiffWindows = self._own.tiff
        return picture.read(box)

    def _kept(self, key: str) -> Pixels:
        """All pixels of a picture; the last one is kept for the windows that follow."""
        with self._decoding:
            if self._decoded is None or self._decoded[0] != key:
                self._decoded = None
                self._decoded = key, self.decode(key, self._store.read(key)).pixels
            return self._decoded[1]

    def decode(self, key: str, data: bytes) -> Image:
        """A whole picture, from its file's bytes."""
        config = self._config
        image = self._call(decode_file, key, data, config.codecs, max_pixels=config.limits.pixels)
        return cast(Image, image)

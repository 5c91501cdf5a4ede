"""GDAL, kept on a short leash: no network, nothing beside the one file, errors as ganray's own.

The only module that imports rasterio, an extra.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ganray.codecs.geo_file import NAME, StoreOpener
from ganray.errors import GanrayError, MissingExtraError, TooLargeError, UndecodableError

_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GTIFF_POINT_GEO_IGNORE": "NO",
    "GDAL_TIFF_INTERNAL_MASK_TO_8BIT": "YES",
    "GDAL_NUM_THREADS": "1",
    "PROJ_NETWORK": "OFF",
}


def require_rasterio() -> ModuleType:
    """The module rasterio; MissingExtraError names the extra that installs it."""
    try:
        import rasterio
        import rasterio.abc
        import rasterio.control
        import rasterio.enums
        import rasterio.errors
        import rasterio.rpc
        import rasterio.session
        import rasterio.transform
        import rasterio.warp
    except ImportError as error:
        raise MissingExtraError(
            f"a GeoTIFF needs rasterio ({error}): pip install 'ganray[geo]'"
        ) from error
    module: ModuleType = rasterio
    return module


@contextmanager
def environment(cache_bytes: int) -> Iterator[None]:
    """GDAL's options for this thread; that of the cache is the process's."""
    rasterio = require_rasterio()
    # Without a session of its own rasterio would look for credentials.
    session = rasterio.session.DummySession()
    with rasterio.Env(session=session, GDAL_CACHEMAX=cache_bytes, **_OPTIONS):
        yield


def open_dataset(opener: StoreOpener) -> Any:
    """A rasterio dataset for one thread, by the driver of GeoTIFF and no other."""
    rasterio = require_rasterio()
    rasterio.abc.MultiByteRangeResourceContainer.register(StoreOpener)
    return rasterio.open(NAME, opener=opener, driver="GTiff", sharing=False)


@contextmanager
def translated(opener: StoreOpener) -> Iterator[None]:
    """Raise what failed inside as ganray's errors, the store's own first.

    GDAL raises many types of its own on damaged files, and goes on after a failed read of what it
    could do without.
    """
    try:
        yield
    except GanrayError:
        raise
    except MemoryError:
        raise TooLargeError("the raster needs more memory than there is") from None
    except Exception as error:
        if opener.failure is not None:
            raise opener.failure from error
        raise UndecodableError(f"damaged or truncated GeoTIFF: {_reason(error)}") from error
    if opener.failure is not None:
        raise opener.failure


def _reason(error: BaseException) -> str:
    """The first cause that GDAL gives."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(getattr(error, "errmsg", error)).split())
    return text.replace(f"{NAME}, ", "") or type(error).__name__

"""What stands beside a raster's file and belongs to it: found by one listing, never read."""

from itertools import islice
from pathlib import PurePosixPath

from ganray.errors import UnsupportedImageError
from ganray.storage import Store

MOST = 1000
"""How many names are looked at: files of other bands and dates may begin alike."""

_MASK = ".msk"
# Not .ovr: overviews are made anew.
_APPENDED = (".aux.xml",)
_REPLACED = {".tfw", ".tifw", ".tiffw", ".wld", ".tab", ".prj", ".rpb", ".imd", ".aux", ".rrd"}


def find_sidecars(store: Store, key: str) -> tuple[str, ...]:
    """What is lost with the files beside a raster, by their names.

    Raises UnsupportedImageError for a mask: without it, what has no value would be restored.
    """
    stem = str(PurePosixPath(key).with_suffix(""))
    lost = []
    for found in islice(store.list(f"{stem}."), MOST):
        name = found.key
        if name.lower() == f"{key}{_MASK}".lower():
            raise UnsupportedImageError(
                f"its mask is a file of its own, {name}; expected it inside: save it anew "
                "(gdal_translate --config GDAL_TIFF_INTERNAL_MASK YES)"
            )
        appended = name.removeprefix(key).lower() in _APPENDED
        replaced = name.removeprefix(stem).lower() in _REPLACED
        if appended or replaced:
            lost.append(f"sidecar {PurePosixPath(name).name}")
    return tuple(lost)

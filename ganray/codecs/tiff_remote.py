"""What a worker asks of a large TIFF by its URI, in a call that another process can serve."""

from ganray.codecs.tiff_windows import TiffWindows
from ganray.raster.image import Pixels, Profile
from ganray.raster.windows import Box
from ganray.storage import open_store


def describe_tiff(uri: str, key: str) -> tuple[Profile, int, int]:
    """Profile, height and width of a TIFF in the store of a URI, from its header."""
    picture = TiffWindows(open_store(uri), key)
    return picture.profile, picture.height, picture.width


def read_tiff_box(uri: str, key: str, box: Box) -> Pixels:
    """The pixels (C,h,w) of a TIFF inside a box, for a process that is called once."""
    return TiffWindows(open_store(uri), key).read(box)

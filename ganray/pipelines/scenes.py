"""Which inputs are scenes: so large that several workers restore them, window by window."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ganray.codecs import photo
from ganray.codecs.files import RASTER, require_encodable, written_format
from ganray.codecs.geo import describe_geo, is_geo
from ganray.codecs.geo_config import GeoConfig
from ganray.codecs.geo_whole import raster_validity
from ganray.codecs.tiff_remote import describe_tiff
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.errors import TooLargeError, UnsupportedImageError
from ganray.pipelines.restore_orders import SCENES_PREFIX, Pending, Reader, RestoreJob, Scene
from ganray.raster.image import Profile
from ganray.raster.ranges import ValueRanges, choose_ranges
from ganray.raster.validity import EVERYWHERE
from ganray.restoration.canvas import Part
from ganray.restoration.presentation import choose_parts
from ganray.storage import ObjectInfo, Store

STAGING_COMPRESSION = "zstd"
BYTES_PER_PIXEL = 8
"""More than any format needs that is decoded whole: what is larger is not read."""

Call = Callable[..., Any]


def apply(function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
    """Call a codec where this is done: here."""
    return function(*arguments, **options)


def reader_of(store: Store, key: str) -> Reader:
    """Who reads a TIFF."""
    return "geo" if is_geo(store, key) else "tiff"


def describe(
    job: RestoreJob, key: str, reader: Reader, call: Call = apply
) -> tuple[Profile, int, int]:
    """Profile, height and width of a TIFF that is read by ranges; `call` calls a codec."""
    return describe_in(job.config.source, key, reader, job.config.geo, call)


def describe_in(
    uri: str, key: str, reader: Reader, config: GeoConfig, call: Call
) -> tuple[Profile, int, int]:
    """`describe`, of a TIFF in the store of a URI."""
    if reader == "geo":
        found = call(describe_geo, uri, key, config)
    else:
        found = call(describe_tiff, uri, key)
    profile, height, width = found
    return profile, height, width


def find_ranged_scene(
    job: RestoreJob, item: Pending, reader: Reader, call: Call = apply
) -> Scene | None:
    """The scene that a TIFF is to become, or None if one worker restores it whole.

    Raises TooLargeError if it is beyond the limit of scenes, or of the format of its output.
    """
    try:
        profile, height, width = describe(job, item.key, reader, call)
    except UnsupportedImageError:
        if reader == "geo":
            raise
        # Read whole by another library, which says what it keeps of such a file.
        return None
    config, num_pixels = job.config, height * width
    # Photographs of floats are refused by name where they are read.
    if num_pixels <= job.split_pixels or (reader == "tiff" and profile.dtype == "float32"):
        return None
    if num_pixels > config.limits.scene_pixels:
        raise TooLargeError(
            f"{width}x{height} is {num_pixels} pixels; limits.scene_pixels allows "
            f"{config.limits.scene_pixels}"
        )
    if config.output.format not in ("same", "tiff"):
        _require_whole(job, height, width, f"{config.output.format} is written whole")
    return _make_scene(job, item, profile, shape=(height, width), reader=reader)


def find_picture_scene(
    job: RestoreJob, item: Pending, profile: Profile, height: int, width: int
) -> Scene | None:
    """The scene that a picture is to become that every worker decodes whole; None for most."""
    _require_whole(job, height, width, f"{profile.codec} is decoded whole")
    is_splittable = profile.codec in photo.SUFFIXES
    if height * width <= job.split_picture_pixels or not is_splittable:
        return None
    return _make_scene(job, item, profile, shape=(height, width), reader="whole")


def _require_whole(job: RestoreJob, height: int, width: int, why: str) -> None:
    limit = job.config.limits.pixels
    if height * width > limit:
        raise TooLargeError(
            f"{width}x{height} is {height * width} pixels; limits.pixels allows {limit}, since "
            f"{why}. Raise it, or restore it from a tiled TIFF with output.format=tiff, which is "
            "read and written window by window"
        )


def require_bytes(item: Pending | ObjectInfo, limit: int, name: str = "limits.bytes") -> None:
    """Raise TooLargeError if the file is larger than a limit allows."""
    if item.num_bytes > limit:
        raise TooLargeError(f"{item.num_bytes} bytes; {name} allows {limit}")


def _make_scene(
    job: RestoreJob, item: Pending, profile: Profile, *, shape: tuple[int, int], reader: Reader
) -> Scene:
    """A scene, whose place in staging follows from all that shapes its pixels.

    Raises RestorationError if its bands do not fit the generator, UnsupportedImageError if its
    output's format does not hold it.
    """
    height, width = shape
    require_bytes(item, job.config.limits.bytes)
    shown = present(job, profile)
    grid = job.grid(height, width)
    codec = output_codec(job, profile.codec)
    if codec != "tiff":
        require_encodable(profile, codec, height * job.scale, width * job.scale)
    identity = [item.key, item.etag, job.generator_digest, job.config.pixel_digest]
    identity += [str(number) for number in (height, width, grid.window_stride)]
    name = hashlib.sha256("\n".join(identity).encode()).hexdigest()[:24]
    return Scene(
        item=item,
        height=height,
        width=width,
        bands=profile.colorinterp,
        dtype=profile.dtype,
        codec=profile.codec,
        num_windows=grid.num_windows,
        staging=f"{SCENES_PREFIX}{name}/",
        reader=reader,
        validity=raster_validity(profile) if reader == "geo" else EVERYWHERE,
        parts=shown.parts,
        ranges=shown.ranges,
    )


@dataclass(frozen=True)
class Shown:
    """How the bands of an input are shown to the generator."""

    parts: tuple[Part, ...]
    ranges: ValueRanges | None


def present(job: RestoreJob, profile: Profile) -> Shown:
    """How an input is shown to the job's generator. Raises GanrayError if it cannot be."""
    bands = job.config.geo.bands if profile.codec == RASTER else "all"
    return Shown(choose_parts(profile, bands, job.bands), choose_ranges(profile))


def output_codec(job: RestoreJob, codec: str) -> str:
    """The format that an input of format `codec` is written in."""
    return written_format(codec, job.config.codecs)


def is_tiled(written_as: str) -> bool:
    """Whether a format is written by windows, and put together without decoding any."""
    return written_as in ("tiff", RASTER)


def scene_layout(job: RestoreJob, scene: Scene) -> TiffLayout:
    """The tiles and windows of a scene's output. Other formats use them in staging alone."""
    grid = job.grid(scene.height, scene.width)
    is_written = is_tiled(output_codec(job, scene.codec))
    return TiffLayout(
        height=scene.height * job.scale,
        width=scene.width * job.scale,
        bands=scene.bands,
        dtype=scene.dtype,
        window_side=grid.window_stride * job.scale,
        compression=job.config.output.tiff_compression if is_written else STAGING_COMPRESSION,
        validity=scene.validity,
    )

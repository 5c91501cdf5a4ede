"""Which inputs are scenes: so large that several workers restore them, window by window."""

import hashlib
from collections.abc import Callable
from pathlib import PurePosixPath

from ganray.codecs import photo
from ganray.codecs.tiff_remote import describe_tiff
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.errors import TooLargeError, UnsupportedImageError
from ganray.pipelines.restore_orders import SCENES_PREFIX, Pending, RestoreJob, Scene
from ganray.raster.image import Profile
from ganray.restoration.restorer import require_bands

STAGING_COMPRESSION = "zstd"

Describe = Callable[[str, str], tuple[Profile, int, int]]


def is_tiff(key: str) -> bool:
    """Whether a key is named as a TIFF."""
    return PurePosixPath(key).suffix.lower() in photo.SUFFIXES["tiff"]


def find_tiff_scene(
    job: RestoreJob, item: Pending, describe: Describe = describe_tiff
) -> Scene | None:
    """The scene that a TIFF is to become, or None if one worker restores it whole.

    Raises TooLargeError if it is beyond the limit of scenes, or of the format of its output.
    """
    try:
        profile, height, width = describe(job.config.source, item.key)
    except UnsupportedImageError:
        # Read whole by another library, which says what it keeps of such a file.
        return None
    config, num_pixels = job.config, height * width
    # Floats have no range that is known to be 0-1: they are refused by name where they are read.
    if num_pixels <= job.split_pixels or profile.dtype == "float32":
        return None
    if num_pixels > config.limits.scene_pixels:
        raise TooLargeError(
            f"{width}x{height} is {num_pixels} pixels; limits.scene_pixels allows "
            f"{config.limits.scene_pixels}"
        )
    if config.output.format not in ("same", "tiff"):
        _require_whole(job, height, width, f"{config.output.format} is written whole")
    return _make_scene(job, item, profile, shape=(height, width), is_ranged=True)


def find_picture_scene(
    job: RestoreJob, item: Pending, profile: Profile, height: int, width: int
) -> Scene | None:
    """The scene that a picture is to become that every worker decodes whole; None for most."""
    _require_whole(job, height, width, f"{profile.codec} is decoded whole")
    if height * width <= job.split_picture_pixels:
        return None
    return _make_scene(job, item, profile, shape=(height, width), is_ranged=False)


def _require_whole(job: RestoreJob, height: int, width: int, why: str) -> None:
    limit = job.config.limits.pixels
    if height * width > limit:
        raise TooLargeError(
            f"{width}x{height} is {height * width} pixels; limits.pixels allows {limit}, since "
            f"{why}. Raise it, or restore it from a tiled TIFF with output.format=tiff, which is "
            "read and written window by window"
        )


def require_bytes(item: Pending, limit: int, name: str = "limits.bytes") -> None:
    """Raise TooLargeError if the file is larger than a limit allows."""
    if item.num_bytes > limit:
        raise TooLargeError(f"{item.num_bytes} bytes; {name} allows {limit}")


def _make_scene(
    job: RestoreJob, item: Pending, profile: Profile, *, shape: tuple[int, int], is_ranged: bool
) -> Scene:
    """A scene, whose place in staging follows from all that shapes its pixels.

    Raises RestorationError if its bands do not fit the generator, UnsupportedImageError if its
    output's format does not hold it.
    """
    height, width = shape
    require_bytes(item, job.config.limits.bytes)
    require_bands(profile.num_bands - (profile.alpha is not None), job.bands)
    grid = job.grid(height, width)
    codec = output_codec(job, profile.codec)
    if codec != "tiff":
        photo.require_encodable(profile, codec, height * job.scale, width * job.scale)
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
        is_ranged=is_ranged,
    )


def output_codec(job: RestoreJob, codec: str) -> str:
    """The format that an input of format `codec` is written in."""
    wanted = job.config.output.format
    return codec if wanted == "same" else wanted


def scene_layout(job: RestoreJob, scene: Scene) -> TiffLayout:
    """The tiles and windows of a scene's output. Other formats use them in staging alone."""
    grid = job.grid(scene.height, scene.width)
    is_written = output_codec(job, scene.codec) == "tiff"
    return TiffLayout(
        height=scene.height * job.scale,
        width=scene.width * job.scale,
        bands=scene.bands,
        dtype=scene.dtype,
        window_side=grid.window_stride * job.scale,
        compression=job.config.output.tiff_compression if is_written else STAGING_COMPRESSION,
    )

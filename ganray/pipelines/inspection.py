"""What a checkpoint or an image is, as ganray understands it."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ganray.codecs.catalog import DEFAULTS, Codecs, family_of, is_image, is_tiff
from ganray.codecs.files import probe_file
from ganray.codecs.geo import describe_geo, is_geo
from ganray.codecs.video import local_source, probe_video
from ganray.models.catalog import SHIPPED
from ganray.models.checkpoint import AS_FOUND, Checkpoint, ReadingConfig, load_checkpoint
from ganray.models.description import checkpoint_gflop, count_parameters
from ganray.pipelines.archives import absolute_generator
from ganray.raster.image import Profile
from ganray.registry import is_reference
from ganray.storage import open_store, read_uri, split_uri

NO_LIMIT = 2**29
"""More than any frame has; FFmpeg takes no larger number of this kind."""
SHOWN_ITEMS = 20


def inspect_file(
    uri: str, reading: ReadingConfig = AS_FOUND, *, registry: str = ""
) -> dict[str, Any]:
    """Describe a generator (file, URI, catalog or `registry:` name) or an image (file or URI).

    `reading` says how a third-party generator is read; without `registry` a name is looked up in
    the environment's.
    """
    if is_reference(uri):
        file = absolute_generator(uri, registry)
        return {"file": file} | inspect_file(file, reading)
    if uri not in SHIPPED and is_image(uri):
        return _describe_image(uri)
    return _describe_checkpoint(load_checkpoint(uri, reading))


def _describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """`source` says how a third-party file was read, and what was blended."""
    description = {
        "kind": "checkpoint",
        "architecture": checkpoint.architecture,
        "network": checkpoint.network.model_dump(mode="json"),
        "parameters": count_parameters(checkpoint.generator),
        "gflop_per_input_mpixel": round(checkpoint_gflop(checkpoint), 1),
        "scale": checkpoint.scale,
        "bands": checkpoint.bands,
        "takes_mask": checkpoint.takes_mask,
        "value_range": list(checkpoint.value_range),
        "receptive_field_radius": checkpoint.radius,
        "digest": checkpoint.digest,
        "trained_on": checkpoint.trained_on,
        "ganray_version": checkpoint.version,
    }
    if not checkpoint.is_foreign:
        return description
    return description | {"source": _describe_source(checkpoint.training)}


def _describe_source(training: dict[str, Any]) -> dict[str, Any]:
    origin = {name.removeprefix("source_"): value for name, value in training.items()}
    return origin | ({"blend": _describe_source(origin["blend"])} if "blend" in origin else {})


def _describe_image(uri: str) -> dict[str, Any]:
    """What ganray understood of an image, and what it would keep."""
    profile, height, width = _probe(uri, DEFAULTS)
    description = {
        "kind": "image",
        "codec": profile.codec,
        "width": width,
        "height": height,
        "bands": list(profile.colorinterp),
        "dtype": profile.dtype,
        "bit_depth": profile.bit_depth,
        "value_range": profile.value_range,
        "nodata": profile.nodata,
        "resolution": profile.resolution,
        "icc_bytes": len(profile.icc or b""),
        "exif_bytes": len(profile.exif or b""),
        "xmp_bytes": len(profile.xmp or b""),
        "lossless": profile.lossless,
    }
    return description | describe_details(profile.details) | {"lost": list(profile.lost)}


def _probe(uri: str, codecs: Codecs) -> tuple[Profile, int, int]:
    family = family_of(uri)
    if family == "video":
        film = probe_video(local_source(uri), codecs.video, max_pixels=NO_LIMIT)
        return replace(film.image, lost=film.lost, details=film), film.height, film.width
    if is_tiff(uri):
        folder, key = split_uri(uri)
        if is_geo(open_store(folder), key):
            return describe_geo(folder, key, codecs.geo)
    return probe_file(uri, read_uri(uri), codecs)


def describe_details(details: object) -> dict[str, Any]:
    """What a codec knows beyond the profile, in its own words; bytes by their number."""
    if not is_dataclass(details):
        return {}
    own = {f.name: getattr(details, f.name) for f in fields(details) if f.repr}
    found: Mapping[str, object] = getattr(details, "described", own)
    return {name: _in_short(value) for name, value in found.items()}


def _in_short(value: object) -> object:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _in_short(getattr(value, f.name)) for f in fields(value) if f.repr}
    if isinstance(value, Mapping):
        return {str(name): _in_short(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_short(item) for item in value[:SHOWN_ITEMS]]
    return value if isinstance(value, int | float | bool | str | None) else str(value)

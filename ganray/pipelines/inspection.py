"""What a checkpoint or an image is, as ganray understands it."""

from typing import Any

from ganray.codecs import catalog, photo
from ganray.models.catalog import SHIPPED
from ganray.models.checkpoint import AS_FOUND, Checkpoint, ReadingConfig, load_checkpoint
from ganray.storage import read_uri


def inspect_file(uri: str, reading: ReadingConfig = AS_FOUND) -> dict[str, Any]:
    """Describe a generator (file, URI or catalog name) or an image (file or URI).

    `reading` says how a third-party generator is read.
    """
    if uri not in SHIPPED and catalog.is_image(uri):
        return _describe_image(uri)
    return _describe_checkpoint(load_checkpoint(uri, reading))


def _describe_checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """`source` says how a third-party file was read, and what was blended."""
    description = {
        "kind": "checkpoint",
        "architecture": checkpoint.architecture,
        "network": checkpoint.network.model_dump(mode="json"),
        "parameters": sum(p.numel() for p in checkpoint.generator.parameters()),
        "scale": checkpoint.scale,
        "bands": checkpoint.bands,
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
    catalog.require_codec(uri)
    profile, height, width = photo.probe(read_uri(uri))
    return {
        "kind": "image",
        "codec": profile.codec,
        "width": width,
        "height": height,
        "bands": list(profile.colorinterp),
        "dtype": profile.dtype,
        "bit_depth": profile.bit_depth,
        "resolution": profile.resolution,
        "icc_bytes": len(profile.icc or b""),
        "exif_bytes": len(profile.exif or b""),
        "xmp_bytes": len(profile.xmp or b""),
        "lossless": profile.lossless,
        "lost": list(profile.lost),
    }

"""What a checkpoint or an image is, as ganray understands it."""

from typing import Any

from ganray.codecs import catalog, photo
from ganray.models.catalog import SHIPPED
from ganray.models.checkpoint import load_checkpoint
from ganray.storage import read_uri


def inspect_file(uri: str) -> dict[str, Any]:
    """Describe a checkpoint (file, URI or catalog name) or an image (file or URI)."""
    if uri not in SHIPPED and catalog.is_image(uri):
        return _describe_image(uri)
    checkpoint = load_checkpoint(uri)
    return {
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

"""What a restored raster is written as: a cloud-optimised GeoTIFF, whole or by many workers."""

from dataclasses import dataclass, replace

from ganray.codecs.geo_profile import GeoDetails
from ganray.codecs.geo_tags import geo_overview_tags, geo_tags
from ganray.codecs.photo_output import OutputConfig
from ganray.codecs.tiff_metadata import profile_tags
from ganray.codecs.tiff_whole import assemble_whole
from ganray.codecs.tiled_tiff import TILE_SIDES, TiffLayout
from ganray.errors import UnsupportedImageError
from ganray.raster.image import Image, Profile
from ganray.raster.validity import Validity

LONGEST_SIDE = 2**31 - 1


@dataclass(frozen=True)
class TaggedLayout:
    """A layout with all tags of its file, and what the format could not hold of the profile."""

    layout: TiffLayout
    lost: tuple[str, ...]


def raster_validity(profile: Profile) -> Validity:
    """What says where a raster has values."""
    details = profile.details
    assert isinstance(details, GeoDetails)
    return details.validity


def tag_raster(layout: TiffLayout, profile: Profile, history: str, *, scale: int) -> TaggedLayout:
    """A layout that also says where its raster is, and what its values mean."""
    shape = layout.num_bands, layout.height, layout.width
    metadata = profile_tags(profile, history=history, shape=shape)
    georeference = geo_tags(profile, scale)
    taken = {tag.code for tag in georeference}
    described = tuple(tag for tag in metadata.tags if tag.code not in taken)
    tagged = replace(
        layout, tags=(*described, *georeference), overview_tags=geo_overview_tags(profile)
    )
    return TaggedLayout(tagged, metadata.lost)


def encode_raster(image: Image, options: OutputConfig, history: str, *, scale: int) -> bytes:
    """Encode restored pixels (C,scale·H,scale·W) with the profile of their input, in memory."""
    _, height, width = image.pixels.shape
    side = TILE_SIDES[0]
    layout = TiffLayout(
        height=height,
        width=width,
        bands=image.profile.colorinterp,
        dtype=image.profile.dtype,
        window_side=-(-max(height, width) // side) * side,
        compression=options.tiff_compression,
        validity=raster_validity(image.profile),
    )
    tagged = tag_raster(layout, image.profile, history, scale=scale)
    return assemble_whole(tagged.layout, image)


def require_encodable(profile: Profile, codec: str, height: int, width: int) -> None:
    """Raise UnsupportedImageError unless a format keeps such a raster."""
    if codec not in ("geotiff", "tiff"):
        raise UnsupportedImageError(
            f"{codec} would lose the georeference and bands of a GeoTIFF; set output.format=same"
        )
    if max(height, width) > LONGEST_SIDE:
        raise UnsupportedImageError(
            f"the output would be {width}x{height}; GDAL holds at most {LONGEST_SIDE} a side"
        )

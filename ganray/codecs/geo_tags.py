"""The tags by which a restored GeoTIFF says where it is and what its bands are.

GDAL makes them: it writes a file of one pixel, whose tags are then taken. The keys of the
coordinate reference system and nodata are copied as they were stored, and rational polynomials
and ground control points are made here: no digit is lost on the way through GDAL's texts, and
GDAL writes points that are meant at pixels' centres a pixel off.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from ganray.codecs.geo_dataset import environment, require_rasterio
from ganray.codecs.geo_profile import GEO_KEYS, Gcp, GeoDetails
from ganray.codecs.tiff_directories import open_tiff
from ganray.codecs.tiff_tags import Code, Kind, Tag, numbers_tag
from ganray.codecs.tiled_tiff import extra_samples
from ganray.raster.image import Profile

_TAKEN = (
    *(Code.PIXEL_SCALE, Code.TIEPOINTS, Code.TRANSFORMATION, *GEO_KEYS),
    Code.GDAL_METADATA,
)

# Among the numbers of the tag of rational polynomials: of the row, then of the column.
_RPC_OFFSETS, _RPC_SCALES = (2, 3), (7, 8)


# What a file says of how its overviews were made: ganray's are means.
_OVERVIEW_ITEMS = ("OVERVIEW_RESAMPLING", "OVR_RESAMPLING_ALG")
_CACHE_BYTES = 1 << 20


def geo_tags(profile: Profile, scale: int) -> tuple[Tag, ...]:
    """Tags for the image's directory, of a raster that is `scale` times as large as its input."""
    details = profile.details
    assert isinstance(details, GeoDetails)
    with environment(_CACHE_BYTES):
        written = _write_pixel(profile, details, scale)
    tiff = open_tiff(lambda start, end: written[start:end])
    tags = {tag.code: tag for tag in tiff.tree(tiff.first_directory, _TAKEN)}
    if details.geo_keys:
        tags = {code: tag for code, tag in tags.items() if code not in GEO_KEYS}
        tags |= {tag.code: tag for tag in details.geo_keys}
    if details.gcps:
        tags[Code.TIEPOINTS] = _tiepoints(details, scale)
    if details.rpc is not None:
        tags[Code.RPC] = numbers_tag(Code.RPC, Kind.DOUBLE, *scaled_rpc(details.rpc, scale))
    tags |= {tag.code: tag for tag in details.others}
    return (*(tags[code] for code in sorted(tags)), *geo_overview_tags(profile))


def geo_overview_tags(profile: Profile) -> tuple[Tag, ...]:
    """Tags that overviews have too."""
    details = profile.details
    assert isinstance(details, GeoDetails)
    if details.nodata_text is None:
        return ()
    return (Tag(Code.GDAL_NODATA, Kind.ASCII, details.nodata_text),)


def scaled_transform(transform: tuple[float, ...], scale: int) -> tuple[float, ...]:
    """The affine of the output: its pixels are `scale` times as small, from the same corner."""
    a, b, c, d, e, f = transform
    return a / scale, b / scale, c, d / scale, e / scale, f


def scaled_gcps(gcps: tuple[Gcp, ...], scale: int) -> tuple[Gcp, ...]:
    """The same points on the ground, in columns and rows of the output."""
    return tuple(replace(gcp, column=gcp.column * scale, row=gcp.row * scale) for gcp in gcps)


def _tiepoints(details: GeoDetails, scale: int) -> Tag:
    """Ground control points as TIFF has them: from the centre of the first pixel, if so meant."""
    origin = 0.5 if details.is_point else 0.0
    numbers = [
        number
        for gcp in scaled_gcps(details.gcps, scale)
        for number in (gcp.column - origin, gcp.row - origin, 0.0, gcp.x, gcp.y, gcp.z)
    ]
    return numbers_tag(Code.TIEPOINTS, Kind.DOUBLE, *numbers)


def scaled_rpc(rpc: tuple[float, ...], scale: int) -> tuple[float, ...]:
    """The same rays, in rows and columns of the output, which count from pixels' centres."""
    scaled = list(rpc)
    if scale != 1:
        for number in _RPC_OFFSETS:
            scaled[number] = (rpc[number] + 0.5) * scale - 0.5
        for number in _RPC_SCALES:
            scaled[number] = rpc[number] * scale
    return tuple(scaled)


def _write_pixel(profile: Profile, details: GeoDetails, scale: int) -> bytes:
    """A GeoTIFF of one pixel with all that is to be said of the raster."""
    rasterio = require_rasterio()
    # The keys of a reference system, where there is one, are copied as they were.
    settings: dict[str, Any] = {}
    if details.transform is not None:
        settings["transform"] = rasterio.Affine(*scaled_transform(details.transform, scale))
    with rasterio.MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=1,
            height=1,
            count=profile.num_bands,
            dtype=profile.dtype,
            **_photometric(profile),
            **settings,
        ) as dataset:
            _describe(dataset, profile, details)
        return bytes(file.read())


def _photometric(profile: Profile) -> dict[str, str]:
    """What the layout says of the bands, so that GDAL adds just what differs from it."""
    num_colours = profile.num_bands - len(extra_samples(profile.colorinterp))
    return {
        "photometric": "MINISBLACK" if num_colours == 1 else "RGB",
        "alpha": "NON-PREMULTIPLIED" if profile.alpha is not None else "UNSPECIFIED",
    }


def _describe(dataset: Any, profile: Profile, details: GeoDetails) -> None:
    rasterio = require_rasterio()
    dataset.colorinterp = [rasterio.enums.ColorInterp[name] for name in profile.colorinterp]
    if details.is_point is not None:
        dataset.update_tags(AREA_OR_POINT="Point" if details.is_point else "Area")
    for number, tags in enumerate((details.tags, *(band.tags for band in details.bands))):
        for domain, items in tags.items():
            made_anew = {name: "AVERAGE" for name in _OVERVIEW_ITEMS if name in items}
            dataset.update_tags(number, domain or None, **{**items, **made_anew})
    for number, band in enumerate(details.bands, start=1):
        if band.description:
            dataset.set_band_description(number, band.description)
        if band.unit:
            dataset.set_band_unit(number, band.unit)
    dataset.scales = [band.scale for band in details.bands]
    dataset.offsets = [band.offset for band in details.bands]
    dataset.write(np.zeros((profile.num_bands, 1, 1), profile.dtype))

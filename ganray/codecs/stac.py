"""A STAC item beside a restored scene: where and when it is of, and what made it of what.

The only module that imports pystac, an extra. Nothing is fetched: schemas are named, not read.
"""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

from ganray.codecs.geo_dataset import environment, require_rasterio
from ganray.codecs.geo_footprint import footprint
from ganray.codecs.geo_profile import GeoDetails
from ganray.codecs.geo_tags import scaled_transform
from ganray.errors import MissingExtraError
from ganray.raster.image import Profile

SUFFIX = ".stac.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"

# STAC wants bounds of a time that is not known. Nobody had photographed from the air before.
FIRST_AERIAL_PHOTOGRAPH = datetime(1858, 1, 1, tzinfo=UTC)
_CACHE_BYTES = 1 << 20


@dataclass(frozen=True)
class Lineage:
    """What made a scene of what: digests of generator and configuration, time in ISO 8601."""

    version: str
    generator: str
    config: str
    time: str
    source: str


def item_key(output_key: str) -> str:
    """Where the item of an output stands."""
    return f"{output_key}{SUFFIX}"


def require_pystac() -> ModuleType:
    """The module pystac; MissingExtraError names the extra that installs it."""
    try:
        import pystac
        import pystac.extensions.projection
    except ImportError as error:
        raise MissingExtraError(
            f"a STAC item needs pystac ({error}): pip install 'ganray[geo]'"
        ) from error
    module: ModuleType = pystac
    return module


def stac_item(
    profile: Profile,
    *,
    shape: tuple[int, int],
    scale: int,
    output_key: str,
    lineage: Lineage,
) -> bytes:
    """The item of a scene, whose input had the profile and `shape`, height and width."""
    pystac = require_pystac()
    details = profile.details
    assert isinstance(details, GeoDetails)
    found = footprint(details, *shape)
    restored_at = datetime.fromisoformat(lineage.time)
    acquired = acquisition_time(details.acquired)
    item = pystac.Item(
        id=str(PurePosixPath(output_key).with_suffix("")).replace("/", "_"),
        geometry=found.geometry if found else None,
        bbox=found.bbox if found else None,
        datetime=acquired,
        start_datetime=None if acquired else FIRST_AERIAL_PHOTOGRAPH,
        end_datetime=None if acquired else restored_at,
        properties=_processing(lineage, scale),
        stac_extensions=[PROCESSING],
    )
    _add_projection(item, details, shape, scale)
    item.add_asset("data", _asset(profile, details, output_key))
    item.add_link(
        pystac.Link(
            rel=pystac.RelType.DERIVED_FROM,
            target=lineage.source,
            media_type=pystac.MediaType.GEOTIFF,
            title="The scene before restoration",
        )
    )
    packed = item.to_dict(include_self_link=False, transform_hrefs=False)
    return (json.dumps(packed, indent=2, ensure_ascii=False) + "\n").encode()


def acquisition_time(text: str | None) -> datetime | None:
    """TIFF's date and time, which has no zone and is taken for UTC; None if it is none."""
    try:
        return datetime.strptime(text or "", "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _processing(lineage: Lineage, scale: int) -> dict[str, Any]:
    return {
        "processing:software": {"ganray": lineage.version},
        "processing:lineage": (
            f"Restored at {scale} times its size by ganray {lineage.version} with the generator "
            f"{lineage.generator}: details that the source does not resolve are the generator's"
        ),
        "processing:datetime": lineage.time,
        "ganray:generator": lineage.generator,
        "ganray:config": lineage.config,
        "ganray:scale": scale,
    }


def _add_projection(item: Any, details: GeoDetails, shape: tuple[int, int], scale: int) -> None:
    projection = require_pystac().extensions.projection.ProjectionExtension
    code, wkt2 = _reference_system(details.crs)
    transform = details.transform and scaled_transform(details.transform, scale)
    projection.ext(item, add_if_missing=True).apply(
        code=code,
        wkt2=wkt2,
        shape=[side * scale for side in shape],
        transform=None if transform is None else list(transform),
    )


def _reference_system(wkt: str | None) -> tuple[str | None, str | None]:
    """The code of a reference system in a registry; its text where there is none."""
    if wkt is None:
        return None, None
    rasterio = require_rasterio()
    with environment(_CACHE_BYTES):
        crs = rasterio.CRS.from_wkt(wkt)
        authority = crs.to_authority()
        if authority is not None:
            return ":".join(authority), None
        return None, crs.to_wkt(version="WKT2_2019")


def _asset(profile: Profile, details: GeoDetails, output_key: str) -> Any:
    pystac = require_pystac()
    return pystac.Asset(
        href=f"./{PurePosixPath(output_key).name}",
        media_type=pystac.MediaType.COG,
        roles=["data"],
        title="The restored scene",
        extra_fields={"bands": _bands(profile, details)},
    )


def _bands(profile: Profile, details: GeoDetails) -> list[dict[str, Any]]:
    made = []
    for number, (name, band) in enumerate(zip(profile.colorinterp, details.bands, strict=True)):
        described: dict[str, Any] = {"name": band.description or f"{name}-{number + 1}"}
        described["data_type"] = profile.dtype
        if profile.nodata is not None:
            finite = math.isfinite(profile.nodata)
            described["nodata"] = profile.nodata if finite else str(profile.nodata)
        if band.unit:
            described["unit"] = band.unit
        made.append(described)
    return made

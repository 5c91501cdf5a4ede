"""What a raster is beside its pixels: the profile of a dataset that GDAL has opened.

All of it is plain values that travel between processes. `geo_tags.py` writes it again.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ganray.codecs.geo_header import GeoHeader
from ganray.codecs.tiff_metadata import (
    DESCRIPTIVE_TAGS,
    INCHES_PER_UNIT,
    LAYOUT_TAGS,
    NOT_KEPT,
    find_metadata,
)
from ganray.codecs.tiff_tags import Code, Tag
from ganray.errors import UnsupportedImageError
from ganray.raster.image import Profile
from ganray.raster.validity import Validity

DTYPES = ("uint8", "uint16", "int16", "float32")
LARGEST_FLOAT = float(np.finfo(np.float32).max)
NUM_RPC_VALUES = 92

GEO_KEYS = (Code.GEO_KEYS, Code.GEO_DOUBLES, Code.GEO_TEXTS)
PLACING = {Code.PIXEL_SCALE, Code.TIEPOINTS, Code.TRANSFORMATION, Code.INTERGRAPH_MATRIX}
RESOLUTION = {Code.X_RESOLUTION, Code.Y_RESOLUTION, Code.RESOLUTION_UNIT}
_INCH = 2

# Tags that are kept, in whatever way, or that are named as lost elsewhere.
_KNOWN = frozenset(
    (
        *(*LAYOUT_TAGS, *DESCRIPTIVE_TAGS, *NOT_KEPT, *GEO_KEYS, *PLACING, *RESOLUTION),
        *(Code.GDAL_METADATA, Code.GDAL_NODATA, Code.RPC, Code.RSID, Code.GEO_METADATA),
        *(Code.EXIF, Code.GPS, Code.ICC, Code.XMP, Code.ORIENTATION),
    )
)

# GDAL makes these domains from others, or ganray keeps what is in them by other ways.
_DERIVED_DOMAINS = ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "COLOR_PROFILE", "EXIF", "RPC")
_LOST_DOMAINS = {"TILING_SCHEME": "tiling scheme", "GEOLOCATION": "geolocation arrays"}


@dataclass(frozen=True)
class Gcp:
    """A ground control point: column and row from the image's corner, and where that is."""

    column: float
    row: float
    x: float
    y: float
    z: float


@dataclass(frozen=True)
class BandDetails:
    """What is said of one band. `tags` are by domain; "" is the unnamed one."""

    description: str | None
    scale: float
    offset: float
    unit: str | None
    tags: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class GeoDetails:
    """What only `geo_tags` needs of a raster, in pixels of the input.

    `crs` is WKT. `transform` are the coefficients a-f of GDAL's and rasterio's affine, from
    columns and rows at the corners of pixels whatever `is_point` says, which is that values are
    meant at pixels' centres. `rpc` are the 92 numbers of TIFF's tag of rational polynomial
    coefficients. `geo_keys`, `nodata_text` and `others` are as they were stored. `acquired` is
    TIFF's date and time.
    """

    validity: Validity
    crs: str | None
    transform: tuple[float, ...] | None
    gcps: tuple[Gcp, ...]
    rpc: tuple[float, ...] | None
    is_point: bool | None
    geo_keys: tuple[Tag, ...]
    nodata_text: bytes | None
    others: tuple[Tag, ...]
    acquired: str | None
    tags: Mapping[str, Mapping[str, str]]
    bands: tuple[BandDetails, ...] = field(repr=False)

    @property
    def described(self) -> dict[str, object]:
        """For `ganray inspect`."""
        return {
            "crs": _short_crs(self.crs),
            "transform": self.transform,
            "values_stand_for": "points" if self.is_point else "areas",
            "validity": self.validity.kind,
            "ground_control_points": len(self.gcps),
            "rational_polynomials": self.rpc is not None,
            "acquired": self.acquired,
            "tags": {domain or "default": dict(tags) for domain, tags in self.tags.items()},
            "band_descriptions": [band.description for band in self.bands],
        }


def _short_crs(wkt: str | None) -> str | None:
    """The name of a reference system and its code in a registry, where it has one."""
    if wkt is None:
        return None
    name = wkt.partition('"')[2].partition('"')[0]
    code = re.search(r'(?:AUTHORITY|ID)\["(\w+)",\s*"?(\w+)"?\]\]$', wkt)
    return f"{name} ({code[1]}:{code[2]})" if code else name


def check_dataset(dataset: Any) -> None:
    """Refuse samples that ganray does not keep. Raises UnsupportedImageError."""
    kinds = dict.fromkeys(dataset.dtypes)
    if len(kinds) > 1 or not {"float64", *DTYPES} & set(kinds):
        raise UnsupportedImageError(
            f"bands of {' and '.join(kinds)}; expected uint8, uint16, int16 or float32, which a "
            "generator's float32 holds exactly; convert it first (gdal_translate -ot Float32)"
        )


def dataset_validity(dataset: Any, dtype: str) -> Validity:
    """What says where the raster has values, in GDAL's order of precedence."""
    flags = {flag.name for flag in dataset.mask_flag_enums[0]}
    names = [band.name for band in dataset.colorinterp]
    if flags == {"per_dataset"}:
        return Validity("mask")
    if flags == {"per_dataset", "nodata"}:
        values = [float(value) for value in dataset.tags()["NODATA_VALUES"].split()]
        return Validity("joint", tuple(values))
    if "nodata" in flags:
        return Validity(
            "nodata", tuple(narrow_nodata(value, dtype) for value in dataset.nodatavals)
        )
    if "alpha" in names:
        return Validity("alpha", alpha=names.index("alpha"))
    return Validity()


def narrow_nodata(value: float, dtype: str) -> float:
    """Nodata in a dtype; NaN where float32 does not hold it."""
    too_large = dtype == "float32" and abs(value) > LARGEST_FLOAT
    return float("nan") if too_large else float(value)


def make_profile(dataset: Any, header: GeoHeader, validity: Validity, dtype: str) -> Profile:
    """The profile of a dataset, without a range of values."""
    found = find_metadata(header.tiff)
    lost = [*found.lost, *_lost(dataset, header)]
    return Profile(
        codec="geotiff",
        dtype=dtype,
        bit_depth=8 * np.dtype(dtype).itemsize,
        colorinterp=tuple(band.name for band in dataset.colorinterp),
        resolution=found.resolution,
        icc=found.icc,
        exif=found.exif,
        xmp=found.xmp,
        lossless=_is_lossless(dataset),
        lost=tuple(dict.fromkeys(lost)),
        nodata=None if dataset.nodata is None else narrow_nodata(dataset.nodata, dtype),
        details=_details(dataset, header, validity, dtype),
    )


def num_bits(dataset: Any) -> int | None:
    """How many bits of the type a band uses, where the file says that they are fewer."""
    text = dataset.tags(1, ns="IMAGE_STRUCTURE").get("NBITS")
    return int(text) if text else None


def _lost(dataset: Any, header: GeoHeader) -> Sequence[str]:
    lost = []
    if dataset.dtypes[0] == "float64":
        lost.append("float64 (written as float32)")
    if dataset.nodata is not None and not np.isnan(dataset.nodata):
        narrowed = narrow_nodata(dataset.nodata, "float32")
        if dataset.dtypes[0] == "float64" and np.isnan(narrowed):
            lost.append(f"nodata {dataset.nodata:g} (written as NaN)")
    bits = num_bits(dataset)
    if bits:
        lost.append(f"{bits}-bit depth")
    if header.mask is not None and header.mask.for_bands(Code.BITS_PER_SAMPLE, 1) != (1,):
        lost.append("8-bit mask (written as 1 bit)")
    lost += [f"tag {code}" for code in sorted(header.image.codes - _KNOWN)]
    lost += [name for domain, name in _LOST_DOMAINS.items() if domain in dataset.tag_namespaces()]
    return lost


def _details(dataset: Any, header: GeoHeader, validity: Validity, dtype: str) -> GeoDetails:
    gcps, gcps_crs = dataset.gcps
    crs = dataset.crs or gcps_crs
    tags = dataset.tags()
    point = tags.get("AREA_OR_POINT")
    is_placed = header.image.codes & PLACING
    stored = header.image.data(Code.GDAL_NODATA)
    unstorable = validity.kind == "nodata" and np.isnan(validity.nodata[0])
    return GeoDetails(
        validity=validity,
        crs=crs.to_wkt() if crs else None,
        transform=tuple(dataset.transform)[:6] if is_placed and not gcps else None,
        gcps=tuple(Gcp(p.col, p.row, p.x, p.y, p.z or 0.0) for p in gcps),
        rpc=_rpc(header),
        is_point=None if point is None else point == "Point",
        geo_keys=tuple(header.tiff.tree(header.tiff.first_directory, GEO_KEYS)),
        nodata_text=b"nan\0" if stored and unstorable else stored,
        others=tuple(header.tiff.tree(header.tiff.first_directory, _others(header))),
        acquired=tags.get("TIFFTAG_DATETIME"),
        tags=_by_domain(dataset, None),
        bands=tuple(
            BandDetails(
                dataset.descriptions[n],
                dataset.scales[n],
                dataset.offsets[n],
                dataset.units[n],
                _by_domain(dataset, n + 1),
            )
            for n in range(dataset.count)
        ),
    )


def _others(header: GeoHeader) -> set[int]:
    """Tags that are copied as they are: resolution among them where it is only that of two axes."""
    others: set[int] = {Code.ORIENTATION, Code.RSID, Code.GEO_METADATA}
    has_unit = header.image.number(Code.RESOLUTION_UNIT, _INCH) in INCHES_PER_UNIT
    return others if has_unit else others | RESOLUTION


def _rpc(header: GeoHeader) -> tuple[float, ...] | None:
    data = header.image.data(Code.RPC)
    if data is None or len(data) != 8 * NUM_RPC_VALUES:
        return None
    return tuple(np.frombuffer(data, "<f8").tolist())


def _by_domain(dataset: Any, band: int | None) -> Mapping[str, Mapping[str, str]]:
    """What is said of the dataset or of a band, by domain, but what GDAL derives from elsewhere."""
    number = band or 0
    domains = [
        domain
        for domain in dataset.tag_namespaces(number)
        if domain not in (*_DERIVED_DOMAINS, *_LOST_DOMAINS) and not domain.startswith("xml:XMP")
    ]
    found = {domain: dict(dataset.tags(number, ns=domain)) for domain in domains}
    found[""] = {
        name: value
        for name, value in dataset.tags(number).items()
        if name != "AREA_OR_POINT" and not name.startswith(("TIFFTAG_", "STATISTICS_"))
    }
    return {domain: tags for domain, tags in found.items() if tags}


def _is_lossless(dataset: Any) -> bool:
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    lossy = structure.get("COMPRESSION_REVERSIBILITY", "").startswith("LOSSY")
    return not lossy and "JPEG" not in structure.get("COMPRESSION", "")

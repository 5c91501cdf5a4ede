"""Where on Earth a raster lies: its outline in longitude and latitude, as GeoJSON wants it."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganray.codecs.geo_dataset import environment, require_rasterio
from ganray.codecs.geo_profile import GeoDetails

POINTS_PER_EDGE = 16
"""An edge that is straight in the raster is none on the globe."""
DECIMALS = 9
_CACHE_BYTES = 1 << 20

Ring = list[tuple[float, float]]
Locate = Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[Any, Any]]
"""From columns and rows to longitudes and latitudes."""


@dataclass(frozen=True)
class Footprint:
    """A GeoJSON geometry with its bounding box: west, south, east, north.

    Across the date line it is cut in two, and west is larger than east.
    """

    geometry: dict[str, Any]
    bbox: list[float]


def footprint(details: GeoDetails, height: int, width: int) -> Footprint | None:
    """The outline of a raster of so many pixels; None if the file does not say where it is.

    Nor is there one for other planets, or where a part of the edge is not on the globe at all.
    """
    rasterio = require_rasterio()
    columns, rows = _edges(height, width)
    with environment(_CACHE_BYTES):
        try:
            located = _locate(details, columns, rows)
        # PROJ's refusals, of which rasterio has no public type, and rasterio's own.
        except (rasterio.errors.RasterioError, rasterio._err.CPLE_BaseError):
            return None
    if located is None:
        return None
    longitudes, latitudes = (np.asarray(values, np.float64) for values in located)
    if not (np.isfinite(longitudes).all() and np.isfinite(latitudes).all()):
        return None
    return _outline(longitudes, latitudes)


def _edges(height: int, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows of points around the raster, from its first corner."""
    along = np.arange(POINTS_PER_EDGE) / POINTS_PER_EDGE
    zeros, ones = np.zeros_like(along), np.ones_like(along)
    columns = np.concatenate([along, ones, 1 - along, zeros]) * width
    rows = np.concatenate([zeros, along, ones, 1 - along]) * height
    return columns, rows


def _locate(
    details: GeoDetails, columns: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[Any, Any] | None:
    rasterio = require_rasterio()
    if details.rpc is not None and details.transform is None and not details.gcps:
        with rasterio.transform.RPCTransformer(_rpc(details.rpc)) as rays:
            located: tuple[Any, Any] = rays.xy(rows, columns, offset="ul")
            return located
    if details.crs is None or (details.transform is None and not details.gcps):
        return None
    if details.transform is not None:
        a, b, c, d, e, f = details.transform
        x, y = a * columns + b * rows + c, d * columns + e * rows + f
    else:
        points = [
            rasterio.control.GroundControlPoint(p.row, p.column, p.x, p.y, p.z)
            for p in details.gcps
        ]
        with rasterio.transform.GCPTransformer(points) as polynomial:
            x, y = polynomial.xy(rows, columns, offset="ul")
    found = rasterio.warp.transform(details.crs, "EPSG:4326", list(x), list(y))
    return found[0], found[1]


def _rpc(values: tuple[float, ...]) -> Any:
    """TIFF's numbers as rasterio's object."""
    names = ("line_off", "samp_off", "lat_off", "long_off", "height_off")
    scales = ("line_scale", "samp_scale", "lat_scale", "long_scale", "height_scale")
    polynomials = ("line_num_coeff", "line_den_coeff", "samp_num_coeff", "samp_den_coeff")
    known: dict[str, Any] = dict(zip((*names, *scales), values[2:12], strict=True))
    known |= {
        name: list(values[start : start + 20])
        for name, start in zip(polynomials, range(12, 92, 20), strict=True)
    }
    return require_rasterio().rpc.RPC(**known)


def _outline(longitudes: NDArray[np.float64], latitudes: NDArray[np.float64]) -> Footprint:
    closed = np.append(longitudes, longitudes[0])
    unwrapped = np.unwrap(closed, period=360)
    south, north = float(latitudes.min()), float(latitudes.max())
    if abs(unwrapped[-1] - unwrapped[0]) > 180:
        # The outline goes round a pole, which is inside.
        south, north = (south, 90.0) if latitudes.mean() > 0 else (-90.0, north)
        return _polygons([[(-180, south), (180, south), (180, north), (-180, north)]])
    ring = unwrapped[:-1] - 360 * np.floor((unwrapped[:-1].min() + 180) / 360)
    points = list(zip(ring.tolist(), latitudes.tolist(), strict=True))
    if max(ring) <= 180:
        return _polygons([points])
    east = [(longitude - 360, latitude) for longitude, latitude in _clip(points, 180, above=True)]
    return _polygons([_clip(points, 180, above=False), east])


def _clip(ring: Ring, meridian: float, *, above: bool) -> Ring:
    """The part of a ring on one side of a meridian."""
    sign = 1 if above else -1
    kept: Ring = []
    for (x, y), (next_x, next_y) in pairwise([*ring, ring[0]]):
        if sign * (x - meridian) >= 0:
            kept.append((x, y))
        if (x - meridian) * (next_x - meridian) < 0:
            share = (meridian - x) / (next_x - x)
            kept.append((meridian, y + share * (next_y - y)))
    return kept


def _polygons(rings: list[Ring]) -> Footprint:
    """One polygon, or two that meet at the date line, the western one first."""
    closed = [_closed(ring) for ring in rings]
    latitudes = [y for ring in closed for _, y in ring]
    west = min(x for x, _ in closed[0])
    east = max(x for x, _ in closed[-1])
    coordinates = [[[[x, y] for x, y in ring]] for ring in closed]
    single = len(closed) == 1
    return Footprint(
        geometry={
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": coordinates[0] if single else coordinates,
        },
        bbox=[west, min(latitudes), east, max(latitudes)],
    )


def _closed(ring: Ring) -> Ring:
    """Rounded, counterclockwise, with the first point again at the end."""
    points = [(round(x, DECIMALS), round(y, DECIMALS)) for x, y in ring]
    area = sum(
        x * next_y - next_x * y for (x, y), (next_x, next_y) in pairwise([*points, points[0]])
    )
    ordered = points if area > 0 else points[::-1]
    return [*ordered, ordered[0]]

"""A map of footprints: polygons in longitude and latitude over a graticule, without any tiles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, radians
from typing import Any, ClassVar

from ganray.report.axes import Axis, Tick

MOST_POLYGONS = 400
SIDE = 1000
LEAST_DEGREES = 0.02
MARGIN = 0.12
LEAST_RATIO = 1.6
WORLD = (-180.0, -90.0, 180.0, 90.0)
LARGE_SHARE = 0.6
"""A footprint over so much of the world makes the whole world the map."""

Ring = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Outline:
    """A GeoJSON Polygon or MultiPolygon in degrees, and what it is of."""

    geometry: dict[str, Any]
    text: str


@dataclass(frozen=True)
class Drawn:
    """A path of the map; `x` and `y` are its middle, where a dot keeps a small one visible."""

    path: str
    x: float
    y: float
    text: str


@dataclass(frozen=True)
class FootprintMap:
    """Outlines with the graticule's ticks; `ratio` is the map's width over its height."""

    caption: str
    outlines: tuple[Drawn, ...]
    longitudes: tuple[Tick, ...]
    latitudes: tuple[Tick, ...]
    ratio: float
    description: str
    template: ClassVar[str] = "map.html"

    @property
    def side(self) -> int:
        return SIDE


def footprint_map(caption: str, outlines: Sequence[Outline]) -> FootprintMap:
    """The map that holds all outlines; beyond MOST_POLYGONS the first are drawn."""
    kept = outlines[:MOST_POLYGONS]
    west, south, east, north = _widened(*_extent(kept))
    x, y = Axis("longitude", west, east), Axis("latitude", south, north)
    return FootprintMap(
        caption=caption,
        outlines=tuple(_drawn(outline, x, y) for outline in kept),
        longitudes=tuple(_degrees(x, "E", "W")),
        latitudes=tuple(_degrees(y, "N", "S")),
        ratio=_ratio(west, south, east, north),
        description=(
            f"{len(kept)} footprints between {_degree(west, 'E', 'W')} and "
            f"{_degree(east, 'E', 'W')}, {_degree(south, 'N', 'S')} and {_degree(north, 'N', 'S')}"
        ),
    )


def _rings(geometry: dict[str, Any]) -> Iterator[Ring]:
    """The outer ring of each polygon."""
    polygons = geometry["coordinates"]
    for polygon in [polygons] if geometry["type"] == "Polygon" else polygons:
        yield polygon[0]


def _extent(outlines: Sequence[Outline]) -> tuple[float, float, float, float]:
    points = [p for outline in outlines for ring in _rings(outline.geometry) for p in ring]
    if not points:
        return WORLD
    west, east = min(p[0] for p in points), max(p[0] for p in points)
    south, north = min(p[1] for p in points), max(p[1] for p in points)
    if east - west > LARGE_SHARE * 360 or north - south > LARGE_SHARE * 180:
        return WORLD
    margin = max((east - west) * MARGIN, (north - south) * MARGIN, LEAST_DEGREES)
    return (
        max(west - margin, -180.0), max(south - margin, -90.0),
        min(east + margin, 180.0), min(north + margin, 90.0),
    )  # fmt: skip


def _widened(
    west: float, south: float, east: float, north: float
) -> tuple[float, float, float, float]:
    """The same extent with more to the west and east, where it would be a tall map."""
    missing = LEAST_RATIO * (north - south) / _shrinking(south, north) - (east - west)
    if missing <= 0:
        return west, south, east, north
    return max(-180.0, west - missing / 2), south, min(180.0, east + missing / 2), north


def _ratio(west: float, south: float, east: float, north: float) -> float:
    """Width over height of a map on which distances are alike both ways, up to 3."""
    return min(3.0, max(1.0, (east - west) * _shrinking(south, north) / (north - south)))


def _shrinking(south: float, north: float) -> float:
    """Of a degree of longitude, at the middle latitude."""
    return max(0.2, cos(radians((south + north) / 2)))


def _drawn(outline: Outline, x: Axis, y: Axis) -> Drawn:
    path, middles = "", []
    for ring in _rings(outline.geometry):
        places = [
            (float(x.places(lon)) * SIDE, (1 - float(y.places(lat))) * SIDE)
            for lon, lat, *_ in ring
        ]
        path += "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places) + "Z"
        middles += places
    return Drawn(
        path,
        sum(a for a, _ in middles) / len(middles),
        sum(b for _, b in middles) / len(middles),
        outline.text,
    )


def _degrees(axis: Axis, positive: str, negative: str) -> Iterator[Tick]:
    for tick in axis.ticks:
        value = axis.low + tick.place * (axis.high - axis.low)
        yield Tick(tick.place, _degree(value, positive, negative))


def _degree(value: float, positive: str, negative: str) -> str:
    size = round(abs(value), 3)
    return f"{size:g}°{(positive if value > 0 else negative) if size else ''}"

"""Film frames and 16-bit photographs: pixels per CPU second, against the libraries themselves.

Each side begins and ends with what it has in practice: ganray with the bytes of a file and
pixels (C,H,W), a library with a file in memory and samples as it has them. Both take turns in
one process, whose CPU time counts. ganray's also hold the metadata and the checks.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time

import imagecodecs
import numpy as np
import OpenImageIO
import tifffile
from measuring import Figure, spread

from ganray.codecs import deep_photo, film
from ganray.codecs.film import FilmConfig
from ganray.codecs.photo import OutputConfig
from ganray.raster.image import Image, Profile

HEIGHT, WIDTH = 1556, 2048
MEGABYTES = HEIGHT * WIDTH * 3 * 2 / 1e6
NO_LIMIT = 2**40
STORED = FilmConfig()
RGB = ("red", "green", "blue")


@dataclass(frozen=True)
class Contest:
    """What is timed: both do the same work in the same direction."""

    name: str
    library: str
    ours: Callable[[], object]
    theirs: Callable[[], object]


def run(folder: Path, *, quick: bool) -> list[Figure]:
    repeats = 3 if quick else 9
    return [figure(contest, repeats) for contest in (*film_contests(folder), *photo_contests())]


def figure(contest: Contest, repeats: int) -> Figure:
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(rate(contest.ours))
        theirs.append(rate(contest.theirs))
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return Figure(
        f"{contest.name}, ganray ÷ {contest.library}",
        spread(ratios),
        f"goal 0.9; {spread(ours, 0)} and {spread(theirs, 0)} MB per CPU second",
    )


def rate(function: Callable[[], object]) -> float:
    start = process_time()
    function()
    return MEGABYTES / (process_time() - start)


def grain(depth: int) -> np.ndarray:
    """Code values (C,H,W) as of a scan: a soft picture under the grain of film."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    soft = [np.sin(down / 300 + band) + np.cos(across / 500 - band) for band in range(3)]
    values = np.stack(soft) / 5 + 0.5 + np.random.default_rng(0).normal(0, 0.01, (3, HEIGHT, WIDTH))
    return np.clip(np.rint(values * (2**depth - 1)), 0, 2**depth - 1).astype(np.uint16)


def film_contests(folder: Path) -> list[Contest]:
    contests = []
    for depth in (10, 16):
        codes = grain(depth)
        samples = np.moveaxis(codes << (16 - depth) | codes >> max(0, 2 * depth - 16), 0, -1).copy()
        spec = OpenImageIO.ImageSpec(WIDTH, HEIGHT, 3, "uint16")
        spec.attribute("oiio:BitsPerSample", depth)
        spec.attribute("oiio:Endian", "big")
        spec.attribute("dpx:Packing", "Filled, method A")
        contests += both_directions(folder / f"{depth}.dpx", samples, spec, f"DPX {depth}-bit")
    half = np.stack(list(grain(16) / 65535), -1).astype(np.float16)
    spec = OpenImageIO.ImageSpec(WIDTH, HEIGHT, 3, "half")
    spec.attribute("compression", "zip")
    return [*contests, *both_directions(folder / "half.exr", half, spec, "EXR half zip")]


def both_directions(
    path: Path, samples: np.ndarray, spec: OpenImageIO.ImageSpec, name: str
) -> list[Contest]:
    write_with_oiio(path, samples, spec)
    data = path.read_bytes()
    image = film.decode(data, STORED, max_pixels=NO_LIMIT)
    encode = partial(film.encode, image, image.profile.codec, STORED, "", scale=1)
    decode = partial(film.decode, data, STORED, max_pixels=NO_LIMIT)
    write = partial(write_with_oiio, path, samples, spec)
    kind = "half" if spec.format == "half" else "uint16"
    return [
        Contest(f"{name} encode", "OpenImageIO", encode, write),
        Contest(f"{name} decode", "OpenImageIO", decode, partial(read_with_oiio, path, kind)),
    ]


def write_with_oiio(path: Path, samples: np.ndarray, spec: OpenImageIO.ImageSpec) -> None:
    output = OpenImageIO.ImageOutput.create(str(path))
    assert output is not None and output.open(str(path), spec) and output.write_image(samples)
    output.close()


def read_with_oiio(path: Path, kind: str) -> object:
    picture = OpenImageIO.ImageInput.open(str(path))
    assert picture is not None
    samples = picture.read_image(0, 0, 0, 3, kind)
    picture.close()
    return samples


def photo_contests() -> list[Contest]:
    pixels = grain(16)
    samples = np.moveaxis(pixels, 0, -1).copy()
    image = Image(pixels, Profile(codec="png", dtype="uint16", bit_depth=16, colorinterp=RGB))
    options = OutputConfig()
    png = deep_photo.encode(image, "png", options, "")
    tiff = deep_photo.encode(image, "tiff", options, "")
    return [
        Contest(
            "PNG 16-bit encode",
            "imagecodecs level 1",
            partial(deep_photo.encode, image, "png", options, ""),
            partial(imagecodecs.png_encode, samples, level=1),
        ),
        Contest(
            "PNG 16-bit decode",
            "imagecodecs",
            partial(deep_photo.decode, png, max_pixels=NO_LIMIT),
            partial(imagecodecs.png_decode, png),
        ),
        Contest(
            "TIFF 16-bit deflate encode",
            "tifffile",
            partial(deep_photo.encode, image, "tiff", options, ""),
            partial(write_with_tifffile, samples),
        ),
        Contest(
            "TIFF 16-bit deflate decode",
            "tifffile",
            partial(deep_photo.decode, tiff, max_pixels=NO_LIMIT),
            partial(read_with_tifffile, tiff),
        ),
    ]


def write_with_tifffile(samples: np.ndarray) -> None:
    with io.BytesIO() as file:
        tifffile.imwrite(
            file,
            samples,
            photometric="rgb",
            tile=(512, 512),
            compression="zlib",
            compressionargs={"level": 1},
            predictor=True,
            maxworkers=1,
        )


def read_with_tifffile(data: bytes) -> object:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        return tiff.asarray(maxworkers=1)

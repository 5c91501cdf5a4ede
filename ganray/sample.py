"""The embedded sample archive: photographs of scikit-image's wheel, in mixed formats.

`training/` is for training, `held-out/` for measuring, `damaged/` holds one broken file.
All are in the public domain or CC0 (scikit-image's data README lists their sources).
"""

import io
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganray.errors import MissingExtraError


@dataclass(frozen=True)
class Photograph:
    """One file of the sample: its key, its source in scikit-image, the mode it is stored in."""

    key: str
    source: str
    mode: str = "RGB"


PHOTOGRAPHS = (
    Photograph("training/people/astronaut.png", "astronaut.png"),
    Photograph("training/people/camera.tif", "camera.png", "L"),
    Photograph("training/street/motorcycle-left.webp", "motorcycle_left.png"),
    Photograph("training/street/brick.png", "brick.png", "L"),
    Photograph("training/nature/grass.jpg", "grass.png", "L"),
    Photograph("training/nature/gravel.png", "gravel.png", "L"),
    Photograph("training/science/immunohistochemistry.tif", "ihc.png"),
    Photograph("training/science/retina.jpg", "retina.jpg"),
    Photograph("training/science/moon-16bit.png", "moon.png", "I;16"),
    Photograph("training/space/hubble deep field.jpg", "hubble_deep_field.jpg"),
    Photograph("held-out/animals/chelsea.png", "chelsea.png"),
    Photograph("held-out/objects/coffee.webp", "coffee.png"),
    Photograph("held-out/objects/coins.tif", "coins.png", "L"),
    Photograph("held-out/space/rocket.jpg", "rocket.jpg"),
    Photograph("held-out/text/page.png", "page.png", "L"),
    Photograph("held-out/text/logo.png", "logo.png", "RGBA"),
)
BROKEN = Photograph("damaged/truncated-coffee.png", "coffee.png")

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF"}
SETTINGS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 6, "dpi": (300, 300)},
    "JPEG": {"quality": 92, "dpi": (300, 300)},
    "WEBP": {"quality": 92},
    "TIFF": {"compression": "tiff_adobe_deflate", "dpi": (300, 300)},
}


def write_sample(folder: Path) -> None:
    """Write what is not there yet; files already written are left as they are.

    Raises MissingExtraError without scikit-image.
    """
    for photograph in PHOTOGRAPHS:
        path = folder / photograph.key
        if not path.exists():
            _write(path, _encode(photograph))
    broken = folder / BROKEN.key
    if not broken.exists():
        content = _encode(BROKEN)
        _write(broken, content[: len(content) // 2])


def _encode(photograph: Photograph) -> bytes:
    picture = _open(photograph.source)
    name = FORMATS[Path(photograph.key).suffix]
    if photograph.mode == "I;16":
        # Eight bits spread over sixteen, so that full range is used: 255 becomes 65535.
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    else:
        picture = picture.convert(photograph.mode)
    exif = Image.Exif()
    exif[0x010E] = f"scikit-image sample photograph: {photograph.source}"
    buffer = io.BytesIO()
    picture.save(buffer, format=name, exif=exif.tobytes(), **SETTINGS[name])
    return buffer.getvalue()


def _open(source: str) -> Image.Image:
    try:
        data = files("skimage.data").joinpath(source).read_bytes()
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "the sample archive needs scikit-image: pip install 'ganray[demo]'"
        ) from error
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)

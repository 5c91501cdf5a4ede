"""Small archives made on the spot."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def textured(height: int, width: int, *, seed: int, bands: int = 3) -> np.ndarray:
    """A smooth random picture, uint8 (H,W,C): structure that a generator can work on."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, bands), dtype=np.uint8)
    planes = [
        Image.fromarray(coarse[..., band]).resize((width, height), Image.Resampling.BICUBIC)
        for band in range(bands)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def encoded(height: int, width: int, *, seed: int, format_name: str = "PNG") -> bytes:
    """`textured` as a file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(textured(height, width, seed=seed)).save(buffer, format=format_name)
    return buffer.getvalue()


def write_pictures(folder: Path, number: int, *, side: int = 96) -> None:
    """`number` PNG pictures, image-000.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(number):
        (folder / f"image-{index:03d}.png").write_bytes(encoded(side, side, seed=index))

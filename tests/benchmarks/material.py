"""What the benchmarks restore, and by what: made-up pictures, a generator of no merit."""

import io
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ganray.models.checkpoint import Provenance, build_generator, encode_checkpoint
from ganray.storage import open_store

NUM_PICTURES = 16


def write_archive(uri: str, number: int, side: int, suffixes: tuple[str, ...] = (".jpg",)) -> str:
    """Write `number` pictures below a folder or s3:// URI, and return the URI."""
    store = open_store(uri)
    files = [
        (suffix, _encode(picture(side, seed), suffix))
        for seed in range(NUM_PICTURES)
        for suffix in suffixes
    ]
    for index, (suffix, content) in enumerate(islice(cycle(files), number)):
        store.write(f"{index:06d}{suffix}", content)
    return uri


def picture(side: int, seed: int) -> NDArray[np.uint8]:
    """Smooth shapes with a little noise (side,side,3): as hard to compress as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, side // 16), max(2, side // 16), 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 2, (side, side, 3))
    return (np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)


def write_trivial_generator(folder: Path) -> str:
    """Write a generator that takes next to nothing, so that everything else shows."""
    torch.manual_seed(0)
    options = {"num_features": 1, "num_convs": 0, "scale": 1}
    generator, network = build_generator("compact", options)
    provenance = Provenance(trained_on="nothing", training={})
    path = folder / "trivial.safetensors"
    path.write_bytes(encode_checkpoint(generator, "compact", network, provenance))
    return str(path)


def _encode(pixels: NDArray[np.uint8], suffix: str) -> bytes:
    buffer = io.BytesIO()
    options = {"quality": 90} if suffix == ".jpg" else {"compress_level": 1}
    Image.fromarray(pixels).save(buffer, format={".jpg": "jpeg", ".png": "png"}[suffix], **options)
    return buffer.getvalue()

"""What a job is measured against: loops in one process without Ray.

    python run_loop.py '{"loop": "generator", "source": …, "generator": …, "precision": …}'
    python run_loop.py '{"loop": "files", "archives": [["few", …], …], "generator": …}'

`generator` puts the patches of an archive, decoded and in memory, through the network and
drops the results. `files` reads, decodes, restores, encodes and writes picture by picture.
Started by `measuring.measure`.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import mark
from PIL import Image
from torch import Tensor

from ganray.raster.image import to_float
from ganray.restoration import Restorer
from ganray.restoration.canvas import Canvas
from ganray.restoration.restorer import DTYPES, window_tasks
from ganray.storage import open_store

WARM_UP_PATCHES = 2


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    restorer = Restorer.load(job["generator"])
    if job["loop"] == "generator":
        loop_over_patches(restorer, job["source"], DTYPES[job["precision"]])
    else:
        for name, source in job["archives"]:
            loop_over_files(restorer, name, source, job["jpeg"])


def loop_over_patches(restorer: Restorer, source: str, dtype: torch.dtype | None) -> None:
    store = open_store(source)
    pictures = [decode(store.read(info.key)) for info in store.list()]
    patches = [patch for pixels in pictures for patch in cut(restorer, pixels)]
    network = restorer.generator.network
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype is not None):
        for patch in patches[:WARM_UP_PATCHES]:
            network(patch)
        mark("begins")
        for patch in patches:
            network(patch)
        mark("ends", num_inputs=len(pictures))


def cut(restorer: Restorer, pixels: np.ndarray) -> list[Tensor]:
    """The patches that a restoration puts through the network, ready for it."""
    tasks = window_tasks(pixels, restorer.grid(*pixels.shape[1:]), None)
    pieces = [piece for task in tasks for piece in Canvas(task, restorer.scale).pieces()]
    tensors = [torch.from_numpy(to_float(piece.pixels))[None] for piece in pieces]
    return [tensor.contiguous(memory_format=torch.channels_last) for tensor in tensors]


def loop_over_files(restorer: Restorer, name: str, source: str, jpeg: dict[str, Any]) -> None:
    """The shortest script that does it; `jpeg` are Pillow's options of encoding."""
    target = Path(f"{source}-{name}-looped")
    target.mkdir()
    mark(f"{name} begins")
    with torch.inference_mode():
        for path in sorted(Path(source).iterdir()):
            degraded = torch.from_numpy(decode(path.read_bytes())).float()[None] / 255
            restored = restorer.generator.network(degraded)
            whole = restored[0].clamp(0, 1).mul(255).round().to(torch.uint8)
            pixels = np.moveaxis(whole.numpy(), 0, -1)
            buffer = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="jpeg", **jpeg)
            (target / path.name).write_bytes(buffer.getvalue())
    mark(f"{name} settled")


def decode(data: bytes) -> np.ndarray:
    """Pixels (C,H,W) of a file."""
    return np.moveaxis(np.array(Image.open(io.BytesIO(data))), -1, 0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

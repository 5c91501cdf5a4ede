"""What a job is measured against: loops in one process without Ray.

    python run_loop.py '{"loop": "generator", "source": …, "generator": …, "precision": …}'
    python run_loop.py '{"loop": "files", "runs": [["few", SOURCE, TARGET], …], "generator": …}'

`generator` puts the patches of an archive, decoded and in memory, through the network and
drops the results. `files` reads, decodes, restores, encodes and writes picture by picture; with
`"restorer": true` through ganray's Restorer, which cuts, checks and measures, else through the
network alone.
Started by `measuring.measure`.
"""

import io
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import mark
from PIL import Image
from torch import Tensor

from ganray.raster.image import Pixels
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
        restore = restorer.restore if job["restorer"] else partial(run_network, restorer)
        for name, source, target in job["runs"]:
            mark(f"{name} begins")
            loop_over_files(restore, Path(source), Path(target), job["jpeg"])
            mark(f"{name} settled")


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


def cut(restorer: Restorer, pixels: Pixels) -> list[Tensor]:
    """The patches that a restoration puts through the network, ready for it."""
    tasks = window_tasks(pixels, restorer.grid(*pixels.shape[1:]), None)
    pieces = [piece for task in tasks for piece in Canvas(task, restorer.scale).pieces()]
    # As a picture lies in memory, which is how convolutions like it.
    samples = [np.ascontiguousarray(piece.samples)[None] for piece in pieces]
    return [torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 for pixels in samples]


def loop_over_files(
    restore: Callable[[Pixels], Pixels], source: Path, target: Path, jpeg: dict[str, Any]
) -> None:
    """The shortest script that does it; `jpeg` are Pillow's options of encoding."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        restored = restore(decode(path.read_bytes()))
        buffer = io.BytesIO()
        pixels = np.ascontiguousarray(np.moveaxis(restored, 0, -1))
        Image.fromarray(pixels).save(buffer, format="jpeg", **jpeg)
        (target / path.name).write_bytes(buffer.getvalue())


def run_network(restorer: Restorer, pixels: Pixels) -> Pixels:
    """A whole picture through the network, and rounded."""
    with torch.inference_mode():
        degraded = torch.from_numpy(np.ascontiguousarray(pixels))[None].float() / 255
        restored = restorer.generator.network(degraded)[0]
        return restored.clamp(0, 1).mul(255).round().to(torch.uint8).numpy()


def decode(data: bytes) -> Pixels:
    """Pixels (C,H,W) of a file."""
    return np.moveaxis(np.array(Image.open(io.BytesIO(data))), -1, 0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

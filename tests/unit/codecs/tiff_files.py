"""Large TIFFs in memory: runs, a store and a file that grows, for the tests of the TIFF codec."""

from collections.abc import Iterator

import numpy as np

from ganray.codecs.tiff_assembly import AssembledTiff, assemble
from ganray.codecs.tiff_runs import RunSource, encode_run
from ganray.codecs.tiled_tiff import TiffLayout
from ganray.errors import NotFoundError
from ganray.raster.windows import crop
from ganray.storage import ObjectInfo

BANDS = {
    1: ("gray",),
    2: ("gray", "alpha"),
    3: ("red", "green", "blue"),
    4: ("red", "green", "blue", "alpha"),
    6: ("gray", *["undefined"] * 5),
}


class Memory:
    """A store of objects, which notes every read, and a sink."""

    uri = "memory"

    def __init__(self, **objects: bytes) -> None:
        self.objects = dict(objects)
        self.reads: list[tuple[str, int, int]] = []
        self.writes: list[int] = []
        self.file = bytearray()

    def stat(self, key: str) -> ObjectInfo:
        if key not in self.objects:
            raise NotFoundError(f"{key}: not there; check the key")
        return ObjectInfo(key, len(self.objects[key]), "etag")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return (self.stat(key) for key in sorted(self.objects) if key.startswith(prefix))

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        data = self.objects[key][start:end]
        self.reads.append((key, start, start + len(data)))
        return data

    def write(self, data: bytes) -> None:
        self.writes.append(len(data))
        self.file += data

    def copy(self, key: str, start: int, end: int) -> None:
        assert 0 <= start < end <= len(self.objects[key])
        self.file += self.objects[key][start:end]


def noise(layout: TiffLayout, seed: int = 0) -> np.ndarray:
    """Pixels (C,H,W) of a layout, half of them flat."""
    shape = (len(layout.bands), layout.height, layout.width)
    values = np.random.default_rng(seed).random(shape, np.float32)
    values[:, layout.height // 2 :] = 0.25
    largest = 1 if layout.dtype == "float32" else np.iinfo(layout.dtype).max
    return (values * largest).astype(layout.dtype)


def store_runs(layout: TiffLayout, pixels: np.ndarray) -> tuple[Memory, list[RunSource]]:
    """What the workers leave behind."""
    memory, runs = Memory(), []
    for index in range(layout.num_windows):
        run = encode_run(layout, index, crop(pixels, layout.window_box(index)), {"window": index})
        memory.objects[f"run-{index}"] = run
        runs.append(RunSource(f"run-{index}", len(run)))
    return memory, runs


def make_tiff(
    layout: TiffLayout, pixels: np.ndarray, **options: int
) -> tuple[bytes, AssembledTiff]:
    memory, runs = store_runs(layout, pixels)
    assembled = assemble(layout, runs, read=memory.read, sink=memory, **options)
    return bytes(memory.file), assembled

"""Pipelines of Ray Data that pass pixels between their stages, on one cluster.

    python run_ray_data.py '{"pipeline": "images", "runs": [["few", SOURCE, TARGET, GENERATOR], …]}'
    python run_ray_data.py '{"pipeline": "stages", "runs": [["few", SOURCE, TARGET, 2e7], …]}'

`images` is what Ray Data's documentation leads to: read_images, an actor with the generator,
write_images. `stages` decodes and encodes in tasks of their own round an actor that stands
for a device. Started by `measuring.measure`.
"""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
import torch
from measuring import mark
from PIL import Image
from simulated_device import sleep_for

from ganray.pipelines.restore_config import RestoreWorkersConfig
from ganray.pipelines.workers import ray_cluster
from ganray.restoration import Restorer

SETTLE_SECONDS = 2.0
LOGICAL_CPUS = 4
NUM_ACTORS = 2
TILES_PER_BATCH = 16
BUFFER_BYTES = 2**27
JPEG = {"quality": 95, "subsampling": 0}
"""As ganray encodes."""

Batch = dict[str, Any]


def main(job: dict[str, Any]) -> None:
    pipelines = {"images": images, "stages": stages}
    run: Callable[[str, str, Any], None] = pipelines[job["pipeline"]]
    with ray_cluster(RestoreWorkersConfig(max=1), LOGICAL_CPUS):
        for name, source, target, generator in job["runs"]:
            mark(f"{name} begins")
            run(source, target, generator)
            mark(f"{name} ends")
            time.sleep(SETTLE_SECONDS)
            mark(f"{name} settled")


def images(source: str, target: str, generator: str) -> None:
    restored = ray.data.read_images(source).map_batches(
        RestoringActor,
        fn_constructor_args=(generator,),
        batch_size=TILES_PER_BATCH,
        compute=ray.data.ActorPoolStrategy(size=NUM_ACTORS),
        num_cpus=1,
    )
    restored.write_images(target, column="image", file_format="jpeg")


class RestoringActor:
    """The generator on batches of images (B,H,W,C)."""

    def __init__(self, generator: str) -> None:
        torch.set_num_threads(1)
        self.network = Restorer.load(generator).generator.network

    def __call__(self, batch: Batch) -> Batch:
        with torch.inference_mode():
            degraded = torch.from_numpy(batch["image"]).movedim(-1, 1).float() / 255
            restored = [self.network(image[None])[0] for image in degraded]
            whole = torch.stack(restored).clamp(0, 1).mul(255).round().to(torch.uint8)
        return {"image": whole.movedim(1, -1).numpy()}


def stages(source: str, target: str, pixels_per_second: float) -> None:
    """Decoding and encoding scale apart from the device; one file is one row."""
    Path(target).mkdir()
    paths = [{"path": str(path)} for path in sorted(Path(source).iterdir())]
    # Otherwise most is decoded while the device's actor starts, and its cost does not show.
    limits = ray.data.ExecutionResources(object_store_memory=BUFFER_BYTES)
    ray.data.DataContext.get_current().execution_options.resource_limits = limits
    decoded = ray.data.from_items(
        paths, override_num_blocks=max(1, len(paths) // TILES_PER_BATCH)
    ).map_batches(decode, batch_size=TILES_PER_BATCH, num_cpus=1)
    restored = decoded.map_batches(
        DeviceActor,
        fn_constructor_args=(pixels_per_second,),
        batch_size=TILES_PER_BATCH,
        compute=ray.data.ActorPoolStrategy(size=1),
        # Unlike those of the stages beside it, so that Ray Data keeps the three apart.
        num_cpus=0.5,
    )
    written = restored.map_batches(
        encode, fn_args=(target,), batch_size=TILES_PER_BATCH, num_cpus=1
    )
    assert sum(1 for _ in written.iter_rows()) == len(paths)


def decode(batch: Batch) -> Batch:
    pictures = [np.array(Image.open(io.BytesIO(Path(p).read_bytes()))) for p in batch["path"]]
    return {"path": batch["path"], "image": np.stack(pictures)}


class DeviceActor:
    """Stands for a device that restores so many pixels a second."""

    def __init__(self, pixels_per_second: float) -> None:
        self.pixels_per_second = pixels_per_second

    def __call__(self, batch: Batch) -> Batch:
        num_images, height, width, _ = batch["image"].shape
        sleep_for(num_images * height * width / self.pixels_per_second)
        return batch


def encode(batch: Batch, target: str) -> Batch:
    for path, pixels in zip(batch["path"], batch["image"], strict=True):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="jpeg", **JPEG)
        (Path(target) / Path(path).name).write_bytes(buffer.getvalue())
    return {"path": batch["path"]}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

"""What holds on a GPU; left out where there is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ganray.models.checkpoint import (
    Checkpoint,
    Provenance,
    build_generator,
    decode_checkpoint,
    encode_checkpoint,
    load_checkpoint,
)
from ganray.raster.image import to_float
from ganray.restoration import Restorer, RestorerConfig
from ganray.restoration.batches import BatchStream
from ganray.restoration.qualification import qualify
from ganray.restoration.restorer import window_tasks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.moveaxis(np.asarray(smooth), -1, 0)


def random_checkpoint(architecture: str, options: dict[str, int]) -> Checkpoint:
    torch.manual_seed(0)
    generator, network = build_generator(architecture, options | {"scale": 2})
    data = encode_checkpoint(generator, architecture, network, Provenance("nothing", {}))
    return decode_checkpoint(data, architecture)


def restored(pixels: np.ndarray, **options: object) -> np.ndarray:
    return Restorer(load_checkpoint("compact-x2"), RestorerConfig(**options)).restore(pixels)


def whole(pixels: np.ndarray) -> np.ndarray:
    """The generator on the whole image at once, in float32 on the CPU."""
    checkpoint = load_checkpoint("compact-x2")
    with torch.inference_mode():
        return checkpoint.generator(torch.from_numpy(pixels)[None])[0].clamp(0, 1).numpy()


def test_tiled_is_the_whole_image_to_1e_5_in_float32() -> None:
    pixels = to_float(picture(700, 900))
    tiled = restored(pixels, precision="float32", window_pixels=512)
    np.testing.assert_allclose(tiled, whole(pixels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("compiles", [False, True])
def test_half_precision_is_the_whole_image_to_one_step(precision: str, compiles: bool) -> None:
    pixels = picture(700, 900)
    expected = np.rint(whole(to_float(pixels)) * 255)
    half = restored(pixels, precision=precision, window_pixels=512, compile=compiles)
    steps = np.abs(half.astype(int) - expected)
    assert steps.max() <= (1 if precision == "float16" else 3)
    assert (steps > 0).mean() < 0.25


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_deep_pixels_come_as_on_the_cpu(dtype: str) -> None:
    pixels = picture(300, 330).astype(np.float32) / 255
    if dtype != "float32":
        pixels = (pixels * np.iinfo(dtype).max).astype(dtype)
    here, there = (restored(pixels, device=name).astype(np.float64) for name in ("cpu", "cuda"))
    step = 1e-5 if dtype == "float32" else 1
    np.testing.assert_allclose(there, here, rtol=0, atol=step)


def test_results_do_not_depend_on_what_shares_a_batch() -> None:
    restorer = Restorer(load_checkpoint("compact-x2"), RestorerConfig(precision="float16"))
    images = [picture(256, 256, seed) for seed in range(11)]
    tasks = [t for i in images for t in window_tasks(i, restorer.grid(256, 256), None, id(i))]
    together = {r.task.token: r.pixels for r in restorer.restore_windows(tasks)}
    for image in images:
        assert np.array_equal(together[id(image)], restorer.restore(image))


def test_deep_generators_are_blended_as_on_the_cpu() -> None:
    checkpoint = random_checkpoint("rrdb", {"num_features": 8, "num_blocks": 8, "growth": 4})
    pixels = picture(520, 600)
    results = []
    for device in ("cpu", "cuda"):
        config = RestorerConfig(precision="float32", device=device, window_pixels=300)
        restorer = Restorer(checkpoint, config)
        assert not restorer.tiling.is_exact
        results.append(restorer.restore_with_trust(pixels))
    steps = np.abs(results[0].pixels.astype(int) - results[1].pixels)
    assert steps.max() <= 1 and (steps > 0).mean() < 0.01
    assert results[0].trust.consistency == pytest.approx(results[1].trust.consistency, rel=1e-3)


def test_what_overflows_in_half_precision_is_computed_again_in_float32() -> None:
    class Large(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 1, bias=False)
            torch.nn.init.dirac_(self.conv.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x * 1e6) / 1e6

    checkpoint = replace(random_checkpoint("compact", {"num_convs": 0}), generator=Large(), scale=1)
    restorer = Restorer(checkpoint, RestorerConfig(precision="float16"))
    pixels = picture(300, 300)
    result = restorer.restore_with_trust(pixels)
    assert np.array_equal(result.pixels, pixels)
    assert result.trust.non_finite > 0


def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost() -> None:
    checkpoint = random_checkpoint("compact", {"num_features": 256, "num_convs": 4})
    pixels = picture(1024, 1024)
    config = RestorerConfig(precision="float32")
    expected = Restorer(checkpoint, config).restore(pixels)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    # A full batch needs several gigabytes; one patch a tenth of them.
    torch.cuda.set_per_process_memory_fraction((total - free + 2**30) / total)
    stream = BatchStream(Restorer(checkpoint, config).generator)
    grid = Restorer(checkpoint, config).grid(1024, 1024)
    try:
        results = list(stream.run(window_tasks(pixels, grid, None)))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert stream._largest_batch < 2**30
    assert [r.error for r in results] == [None] * len(results)
    steps = np.abs(results[0].pixels.astype(int) - expected)
    assert steps.max() <= 1


def test_a_network_of_convolutions_qualifies_for_half_precision() -> None:
    samples = [to_float(picture(512, 512, seed)) for seed in range(3)]
    found = qualify(load_checkpoint("compact-x2"), RestorerConfig(), samples)
    assert found.precision == "float16" and found.half_speed > 1.2
    assert found.seam_error is not None and found.seam_error < 1e-5

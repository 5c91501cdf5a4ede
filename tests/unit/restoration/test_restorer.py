from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ganray.errors import GanrayError, RestorationError, TooLargeError
from ganray.models.checkpoint import (
    Checkpoint,
    Provenance,
    build_generator,
    decode_checkpoint,
    encode_checkpoint,
)
from ganray.raster.image import from_float, to_float
from ganray.restoration import Restorer, RestorerConfig, batches, tiling
from ganray.restoration.restorer import window_tasks

SMALL_CORE = 11
SCALES = (1, 2, 3, 4)


def make_checkpoint(scale: int = 2, bands: int = 3, *, mask: bool = False) -> Checkpoint:
    """A small generator of random weights whose output stays mostly within 0-1."""
    torch.manual_seed(scale)
    options = {"num_features": 4, "num_convs": 1, "scale": scale, "bands": bands, "mask": mask}
    generator, network = build_generator("compact", options)
    with torch.no_grad():
        generator.body[-1].weight.mul_(0.1)
    return decode_checkpoint(
        encode_checkpoint(generator, "compact", network, Provenance("nothing", {})), "memory"
    )


@pytest.fixture(autouse=True)
def small_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "PATCH_CORE", SMALL_CORE)
    # Three patches at a time, so that batches and their remainders occur.
    monkeypatch.setattr(batches.BatchStream, "_full_batch", lambda *_: 3)


def tiled(checkpoint: Checkpoint, window_pixels: int = 2 * SMALL_CORE) -> Restorer:
    return Restorer(checkpoint, RestorerConfig(window_pixels=window_pixels, device="cpu"))


def whole(checkpoint: Checkpoint, pixels: np.ndarray) -> np.ndarray:
    """The generator on the whole image at once, uncut."""
    with torch.inference_mode():
        return checkpoint.generator(torch.from_numpy(pixels)[None])[0].numpy()


def noise(bands: int, height: int = 47, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((bands, height, width), np.float32)


def stored(pixels: np.ndarray, dtype: str) -> np.ndarray:
    return pixels if dtype == "float32" else from_float(pixels, dtype)


def as_float(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.float32 else to_float(pixels)


def tolerance(dtype: str) -> float:
    """1e-5, and where values are rounded, one step for those that lie between two."""
    return 1e-5 + (0 if dtype == "float32" else 1 / np.iinfo(dtype).max)


@pytest.mark.parametrize(("scale", "dtype"), list(product(SCALES, ["uint8", "uint16", "float32"])))
def test_the_tiled_result_is_the_whole_image_result(scale: int, dtype: str) -> None:
    checkpoint = make_checkpoint(scale)
    pixels = stored(noise(3), dtype)
    expected = np.clip(whole(checkpoint, as_float(pixels)), 0, 1)
    result = tiled(checkpoint).restore_with_trust(pixels)
    assert result.num_windows == 9
    assert result.pixels.dtype == dtype and result.pixels.shape == (3, 47 * scale, 60 * scale)
    np.testing.assert_allclose(as_float(result.pixels), expected, rtol=0, atol=tolerance(dtype))


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    window=st.integers(1, 60),
    scale=st.sampled_from([1, 2]),
)
def test_sizes_of_image_and_window_do_not_show_in_the_result(
    height: int, width: int, window: int, scale: int
) -> None:
    checkpoint = make_checkpoint(scale)
    pixels = noise(3, height, width)
    expected = np.clip(whole(checkpoint, pixels), 0, 1)
    np.testing.assert_allclose(
        tiled(checkpoint, window).restore(pixels), expected, rtol=0, atol=1e-5
    )


def test_a_halo_that_is_too_small_would_show() -> None:
    checkpoint = make_checkpoint()
    blind = replace(checkpoint, radius=checkpoint.radius - 1)
    expected = np.clip(whole(checkpoint, noise(3)), 0, 1)
    assert np.abs(tiled(blind).restore(noise(3)) - expected).max() > 1e-5


@pytest.mark.parametrize("scale", SCALES)
def test_gray_is_restored_as_the_mean_of_three_equal_bands(scale: int) -> None:
    checkpoint = make_checkpoint(scale)
    gray = noise(1)
    expected = np.clip(whole(checkpoint, gray.repeat(3, 0)).mean(0, keepdims=True), 0, 1)
    restored = tiled(checkpoint).restore(gray)
    assert restored.shape == (1, 47 * scale, 60 * scale)
    np.testing.assert_allclose(restored, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("bands", "alpha"), [(4, 3), (4, 0), (2, 1)])
def test_alpha_is_restored_as_gray_beside_the_colour(scale: int, bands: int, alpha: int) -> None:
    checkpoint = make_checkpoint(scale)
    pixels = noise(bands)
    colour = [band for band in range(bands) if band != alpha]
    one = tiled(checkpoint)
    restored = one.restore(pixels, alpha=alpha)
    assert np.array_equal(restored[colour], one.restore(pixels[colour]))
    assert np.array_equal(restored[[alpha]], one.restore(pixels[[alpha]]))


def test_a_generator_for_gray_restores_gray() -> None:
    checkpoint = make_checkpoint(bands=1)
    expected = np.clip(whole(checkpoint, noise(1)), 0, 1)
    np.testing.assert_allclose(tiled(checkpoint).restore(noise(1)), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("bands", "alpha"), [(2, None), (4, None), (3, 2), (5, 4)])
def test_bands_that_do_not_fit_the_generator_are_refused(bands: int, alpha: int | None) -> None:
    colour = bands - (alpha is not None)
    with pytest.raises(
        RestorationError, match=rf"has {colour} colour bands and the generator takes 3 \(or gray\)"
    ):
        tiled(make_checkpoint()).restore(noise(bands), alpha=alpha)


def test_values_beyond_the_range_are_cut_and_counted() -> None:
    class Offset(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 0.75

    checkpoint = replace(make_checkpoint(scale=1), generator=Offset())
    pixels = np.full((3, 20, 30), 128, np.uint8)
    pixels[:, :10] = 0
    result = tiled(checkpoint).restore_with_trust(pixels)
    assert (result.pixels[:, 10:] == 255).all() and (result.pixels[:, :10] == 191).all()
    assert result.trust.clipped == 0.5


def test_the_trust_of_a_tiled_image_is_that_of_the_whole() -> None:
    checkpoint = make_checkpoint()
    many, one = (tiled(checkpoint, side).restore_with_trust(noise(3)) for side in (SMALL_CORE, 999))
    assert many.num_windows > 10 and one.num_windows == 1
    assert many.trust.consistency == pytest.approx(one.trust.consistency, abs=1e-6)
    assert many.trust.colour_drift == pytest.approx(one.trust.colour_drift, abs=1e-6)
    assert many.trust.clipped == pytest.approx(one.trust.clipped)


class Spoiled(nn.Module):
    """Repeats its input, and gives `value` where the input is white."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x == 1, self.value, x)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_value_that_is_not_finite_refuses_the_image(value: float, precision: str) -> None:
    checkpoint = replace(make_checkpoint(scale=1), generator=Spoiled(value))
    config = RestorerConfig(window_pixels=SMALL_CORE, precision=precision, device="cpu")
    pixels = np.zeros((3, 40, 40), np.uint8)
    assert not Restorer(checkpoint, config).restore(pixels).any()
    pixels[1, 33, 37] = 255
    with pytest.raises(RestorationError, match="not finite, in float32 too"):
        Restorer(checkpoint, config).restore(pixels)


def test_an_input_that_is_not_finite_is_refused() -> None:
    pixels = noise(3)
    pixels[0, 20, 20] = np.nan
    with pytest.raises(RestorationError, match="not finite"):
        tiled(make_checkpoint()).restore(pixels)


def test_what_overflows_in_half_precision_is_computed_again_in_float32() -> None:
    class Overflowing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / 0 if torch.is_autocast_enabled("cpu") else x

    checkpoint = replace(make_checkpoint(scale=1), generator=Overflowing())
    config = RestorerConfig(precision="bfloat16", device="cpu")
    assert np.array_equal(Restorer(checkpoint, config).restore(noise(3)), noise(3))


def test_half_precision_is_close_to_full() -> None:
    checkpoint = make_checkpoint()
    config = RestorerConfig(precision="bfloat16", device="cpu")
    half, full = Restorer(checkpoint, config).restore(noise(3)), tiled(checkpoint).restore(noise(3))
    np.testing.assert_allclose(half, full, rtol=0, atol=0.02)
    assert not np.array_equal(half, full)


def test_the_input_stays_untouched() -> None:
    pixels = noise(3)
    pixels.setflags(write=False)
    tiled(make_checkpoint()).restore(pixels)


def test_a_restorer_is_loaded_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator, network = build_generator("compact", {"num_features": 4, "num_convs": 1})
    data = encode_checkpoint(generator, "compact", network, Provenance("nothing", {}))
    (tmp_path / "generator.safetensors").write_bytes(data)
    loaded = Restorer.load(str(tmp_path / "generator.safetensors"))
    expected = Restorer(decode_checkpoint(data, "memory")).restore(noise(3))
    assert np.array_equal(loaded.restore(noise(3)), expected)
    with pytest.raises(GanrayError, match="absent"):
        Restorer.load(str(tmp_path / "absent.safetensors"))


def test_pixels_without_a_band_axis_are_refused() -> None:
    with pytest.raises(RestorationError, match="bands, height, width"):
        Restorer.load("compact-x2").restore(np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("window", [SMALL_CORE, 999])
def test_overlaps_blend_what_a_halo_would_be_too_deep_for(
    window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = make_checkpoint()
    expected = np.clip(whole(checkpoint, noise(3)), 0, 1)
    monkeypatch.setattr(tiling, "EXACT_HALO", 0)
    monkeypatch.setattr(tiling, "BLENDED_HALO", 1)
    monkeypatch.setattr(tiling, "BLENDED_OVERLAP", 4)
    monkeypatch.setattr(tiling, "PATCH_CORE", 16)
    blended = tiled(checkpoint, window)
    assert not blended.tiling.is_exact
    result = blended.restore_with_trust(noise(3))
    error = np.abs(result.pixels - expected)
    # Only the seams differ, and there less than a cut without a blend would.
    assert 0 < error.max() < 0.05
    assert np.median(error) < 1e-5
    assert result.trust.consistency == pytest.approx(
        Restorer(checkpoint).restore_with_trust(noise(3)).trust.consistency, rel=0.05
    )


@pytest.mark.parametrize("fits", [2, 1])
def test_out_of_memory_halves_the_batch_and_changes_nothing(
    fits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tiled(make_checkpoint()).restore(noise(3))
    honest = batches.Generator.run

    def run(
        self: batches.Generator, degraded: Tensor, dtype: torch.dtype | None, mask: None
    ) -> Tensor:
        if degraded.shape[0] > fits:
            raise torch.cuda.OutOfMemoryError("no more")
        return honest(self, degraded, dtype)

    monkeypatch.setattr(batches.Generator, "run", run)
    restored = tiled(make_checkpoint()).restore(noise(3))
    np.testing.assert_allclose(restored, expected, rtol=0, atol=1e-5)


def test_a_patch_that_never_fits_fails_its_image_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(
        self: batches.Generator, degraded: Tensor, dtype: torch.dtype | None, mask: None
    ) -> Tensor:
        raise torch.cuda.OutOfMemoryError("no more")

    monkeypatch.setattr(batches.Generator, "run", run)
    with pytest.raises(TooLargeError, match="does not fit into the device's memory"):
        tiled(make_checkpoint()).restore(noise(3))


def test_windows_of_many_images_share_batches_and_none_flushes() -> None:
    one = tiled(make_checkpoint())
    images = {name: noise(3, 30, 40 + name, seed=name) for name in range(4)}

    def tasks():
        for name, pixels in images.items():
            yield from window_tasks(pixels, one.grid(*pixels.shape[1:]), None, token=name)
            yield None

    seen = {name: np.empty((3, 60, 2 * (40 + name)), np.float32) for name in images}
    for result in one.restore_windows(tasks()):
        box = result.task.window.core.scale(2)
        seen[result.task.token][:, box.top : box.bottom, box.left : box.right] = result.pixels
    for name, pixels in images.items():
        assert np.array_equal(seen[name], one.restore(pixels))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_in_an_overlap_refuses_the_image(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SpoiledOnce(nn.Module):
        """Repeats its input; the first patch has a spot just beyond its core."""

        def __init__(self) -> None:
            super().__init__()
            self.num_calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.num_calls += 1
            spoiled = x.clone()
            if self.num_calls == 1:
                spoiled[:, :, 3, 17] = value
            return spoiled

    monkeypatch.setattr(tiling, "EXACT_HALO", 0)
    monkeypatch.setattr(tiling, "BLENDED_HALO", 1)
    monkeypatch.setattr(tiling, "BLENDED_OVERLAP", 4)
    monkeypatch.setattr(tiling, "PATCH_CORE", 16)
    monkeypatch.setattr(batches.BatchStream, "_full_batch", lambda *_: 1)
    checkpoint = replace(make_checkpoint(scale=1), generator=SpoiledOnce(), radius=5)
    with pytest.raises(RestorationError, match="not finite"):
        tiled(checkpoint, 999).restore(noise(3))


@pytest.mark.parametrize("window", [16, 32, 999])
def test_every_pixel_counts_once_in_the_figures_of_a_blend(
    window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiling, "EXACT_HALO", 0)
    monkeypatch.setattr(tiling, "BLENDED_HALO", 1)
    monkeypatch.setattr(tiling, "BLENDED_OVERLAP", 4)
    monkeypatch.setattr(tiling, "PATCH_CORE", 16)
    one = tiled(make_checkpoint(), window)
    pixels = noise(3)
    results = list(one.restore_windows(window_tasks(pixels, one.grid(47, 60), None)))
    assert sum(r.trust.as_dict()["num_samples"] for r in results) == pixels.size


def test_where_nothing_compiles_it_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler for C")

    config = RestorerConfig(precision="bfloat16", device="cpu")
    one = Restorer(make_checkpoint(), config)
    expected = one.restore(noise(3))
    monkeypatch.setattr(torch, "compile", lambda function, **_: fail)
    one.generator = replace(one.generator, compiles=True)
    assert np.array_equal(one.restore(noise(3)), expected)
    assert [record.message for record in caplog.records] == [
        "event=not_compiled cause='no compiler for C'"
    ]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_mask_is_shown_to_the_generator_window_by_window(dtype: str) -> None:
    def unit(stored: np.ndarray) -> np.ndarray:
        return stored if dtype == "float32" else to_float(stored)

    checkpoint = make_checkpoint(mask=True)
    lost = np.random.default_rng(1).random((47, 60)) < 0.3
    pixels = noise(3) if dtype == "float32" else from_float(noise(3), np.dtype(dtype))
    shown = np.concatenate([unit(pixels), lost[None].astype(np.float32)])
    found = unit(tiled(checkpoint).restore(pixels, mask=lost))
    step = {"uint8": 0.51 / 255, "uint16": 0.51 / 65535, "float32": 0}[dtype]
    np.testing.assert_allclose(found, whole(checkpoint, shown).clip(0, 1), atol=step + 2e-6)
    nothing = unit(tiled(checkpoint).restore(pixels, mask=np.zeros_like(lost)))
    assert np.abs(found - nothing).max() > 0.01


def test_the_figures_of_trust_are_of_what_was_not_lost() -> None:
    checkpoint = make_checkpoint(mask=True)
    lost = np.random.default_rng(1).random((47, 60)) < 0.3
    lost[:20, :20] = True
    found = tiled(checkpoint).restore_with_trust(noise(3), mask=lost)
    brought_back = found.pixels.reshape(3, 47, 2, 60, 2).mean((2, 4))
    departure = (brought_back - noise(3))[:, ~lost]
    assert found.trust.consistency == pytest.approx(np.abs(departure).mean(), abs=1e-5)
    drift = np.abs(departure.mean(1)).max()
    assert found.trust.colour_drift == pytest.approx(drift, abs=1e-5)
    nothing = tiled(checkpoint).restore_with_trust(noise(3), mask=np.ones_like(lost))
    assert nothing.trust.consistency == 0


def test_a_gray_image_with_alpha_takes_a_mask_too() -> None:
    checkpoint = make_checkpoint(mask=True)
    lost = np.zeros((47, 60), bool)
    lost[:, 20:30] = True
    restored = tiled(checkpoint).restore(noise(2), alpha=1, mask=lost)
    assert restored.shape == (2, 94, 120)
    gray = np.concatenate([*[noise(2)[:1]] * 3, lost[None].astype(np.float32)])
    expected = whole(checkpoint, gray).mean(0).clip(0, 1)
    np.testing.assert_allclose(restored[0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", [np.float32, np.uint8, list])
def test_a_mask_that_is_not_of_bool_is_refused(kind: Any) -> None:
    lost = noise(3)[0] > 128
    mask = lost.tolist() if kind is list else lost.astype(kind)
    with pytest.raises(RestorationError, match=r"expected an array of bool: give mask > 0\.5"):
        tiled(make_checkpoint(mask=True)).restore(noise(3), mask=mask)


def test_a_mask_that_is_missing_superfluous_or_of_another_size_is_refused() -> None:
    lost = np.zeros((47, 60), bool)
    with pytest.raises(RestorationError, match="takes a mask of lost pixels and was given none"):
        tiled(make_checkpoint(mask=True)).restore(noise(3))
    with pytest.raises(RestorationError, match="takes no mask of lost pixels and was given one"):
        tiled(make_checkpoint()).restore(noise(3), mask=lost)
    with pytest.raises(RestorationError, match=r"shape \(47, 59\); expected \(47, 60\)"):
        tiled(make_checkpoint(mask=True)).restore(noise(3), mask=lost[:, 1:])

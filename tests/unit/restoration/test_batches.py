"""What becomes of windows when the device runs out of memory."""

import weakref
from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganray.errors import TooLargeError
from ganray.raster.windows import Grid
from ganray.restoration import batches
from ganray.restoration.batches import BatchStream
from ganray.restoration.canvas import Canvas, RestoredWindow, WindowTask
from ganray.restoration.generator import Generator
from ganray.restoration.restorer import window_tasks
from ganray.restoration.transfers import HostTransfers

SIDE = 8
NO_MORE = "no more"

Run = Callable[[Generator, Tensor, torch.dtype | None], Tensor]


class Device:
    """A generator that repeats its input, on a device that holds `fits` patches at once."""

    def __init__(self, fits: int, kind: str = "cpu", half: torch.dtype | None = None) -> None:
        self.fits = fits
        self.sizes: list[int] = []
        self.generator = Generator(nn.Identity(), torch.device(kind), 3, 1, half, half)

    def run(self, degraded: Tensor, dtype: torch.dtype | None, mask: None = None) -> Tensor:
        self.sizes.append(degraded.shape[0])
        if degraded.shape[0] > self.fits:
            raise torch.cuda.OutOfMemoryError(NO_MORE)
        return degraded.clone()

    def restore(
        self, monkeypatch: pytest.MonkeyPatch, tasks: Iterable[WindowTask | None], full: int
    ) -> list[RestoredWindow]:
        """Restore in batches of `full` patches at most."""
        monkeypatch.setattr(Generator, "run", lambda _, *args: self.run(*args))
        monkeypatch.setattr(BatchStream, "_full_batch", lambda *_: full)
        # What is called cuda here has the host's memory.
        monkeypatch.setattr(batches, "open_transfers", lambda _: HostTransfers())
        honest = Canvas.open
        monkeypatch.setattr(Canvas, "open", lambda self, _: honest(self, torch.device("cpu")))
        return list(BatchStream(self.generator).run(tasks))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8)


def patches(number: int, side: int = SIDE) -> list[WindowTask]:
    """Windows of one patch each."""
    grid = Grid(side, side * number, halo=0, patch_side=side, window_side=side)
    return list(window_tasks(noise(side, side * number), grid, None))


def assert_unchanged(results: list[RestoredWindow], tasks: list[WindowTask]) -> None:
    assert sorted(r.task.window.index for r in results) == [t.window.index for t in tasks]
    for result in results:
        assert result.error is None
        assert result.pixels is not None and np.array_equal(result.pixels, result.task.pixels)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("fits", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("number", [1, 3, 16, 29])
def test_no_patch_is_lost_however_often_memory_runs_out(
    number: int, fits: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(fits, kind)
    assert_unchanged(device.restore(monkeypatch, patches(number), 16), patches(number))


def test_no_patch_is_lost_where_memory_shrinks_while_a_batch_is_halved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(4)
    honest = device.run

    def run(degraded: Tensor, dtype: torch.dtype | None, mask: None = None) -> Tensor:
        if len(device.sizes) > 2:
            device.fits = 1
        return honest(degraded, dtype)

    monkeypatch.setattr(device, "run", run)
    assert_unchanged(device.restore(monkeypatch, patches(16), 16), patches(16))


def test_the_failed_batch_is_freed_before_the_next_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []
    device = Device(2)
    honest = device.run

    def run(degraded: Tensor, dtype: torch.dtype | None, mask: None = None) -> Tensor:
        activations = degraded * 2
        alive.extend(ref() is not None for ref in held)
        held.append(weakref.ref(activations))
        return honest(degraded, dtype)

    monkeypatch.setattr(device, "run", run)
    assert_unchanged(device.restore(monkeypatch, patches(16), 16), patches(16))
    assert len(held) > 3 and not any(alive)


def test_a_lonely_patch_is_tried_without_padding_before_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(1, "cuda")
    assert_unchanged(device.restore(monkeypatch, patches(1), 16), patches(1))
    assert device.sizes == [16, 8, 4, 2, 1]


def test_a_full_batch_on_a_gpu_has_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(16, "cuda")
    assert_unchanged(device.restore(monkeypatch, patches(5), 4), patches(5))
    assert device.sizes == [4, 4]


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_patch_that_never_fits_fails_by_name_and_alone(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(0, kind)
    results = device.restore(monkeypatch, patches(3), 2)
    assert len(results) == 3
    for result in results:
        assert isinstance(result.error, TooLargeError) and NO_MORE in str(result.error)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_lists_that_were_waiting_are_cut_to_the_smaller_batch(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(2, kind)
    small, large = patches(7), patches(8, side=2 * SIDE)
    results = device.restore(monkeypatch, [*small, *large], 8)
    assert len(results) == 15
    assert_unchanged([r for r in results if r.task.pixels.shape[1] == SIDE], small)
    assert_unchanged([r for r in results if r.task.pixels.shape[1] != SIDE], large)
    # Only the large ones' first batches were too large: what is known is not tried again.
    assert device.sizes[:3] == [8, 4, 2] and max(device.sizes[3:]) == 2


def test_a_float32_run_that_does_not_fit_fails_its_window_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(16, half=torch.bfloat16)

    def run(degraded: Tensor, dtype: torch.dtype | None, mask: None = None) -> Tensor:
        if dtype is None:
            raise torch.cuda.OutOfMemoryError(NO_MORE)
        # One white patch overflows; its neighbours do not.
        return torch.where(degraded.amin((1, 2, 3), keepdim=True) == 1, torch.inf, degraded)

    monkeypatch.setattr(device, "run", run)
    tasks = patches(3)
    tasks[1].pixels[...] = 255
    results = device.restore(monkeypatch, tasks, 16)
    by_index = {result.task.window.index: result for result in results}
    assert isinstance(by_index[1].error, TooLargeError) and NO_MORE in str(by_index[1].error)
    assert_unchanged([by_index[0], by_index[2]], [tasks[0], tasks[2]])

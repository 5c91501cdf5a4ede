"""Patches of one shape through the generator, in full batches, whatever window they are of."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganray.errors import TooLargeError
from ganray.raster.image import Pixels
from ganray.raster.windows import Box
from ganray.restoration.canvas import Canvas, Piece, RestoredWindow, WindowTask, not_finite
from ganray.restoration.guard import measure

# On a CPU a batch of one keeps the activations in the cache; a GPU wants as many as fit.
BATCH_OUTPUT_PIXELS = {"cpu": 1, "cuda": 2**23}
# While the device computes one batch, the one before is fetched and the next is put together.
BATCHES_AHEAD = {"cpu": 0, "cuda": 1}


@dataclass(frozen=True)
class Generator:
    """A network on its device, and how it is applied. `half` is for 8-bit pixels, `deep` for
    others; None is float32."""

    network: nn.Module = field(repr=False)
    device: torch.device
    bands: int
    scale: int
    half: torch.dtype | None
    deep: torch.dtype | None

    def dtype_for(self, pixels: np.dtype[Any]) -> torch.dtype | None:
        return self.half if pixels == np.uint8 else self.deep

    def run(self, degraded_BCHW: Tensor, dtype: torch.dtype | None) -> Tensor:
        """Float32 output, not clamped; one band goes in repeated and comes out averaged."""
        is_gray = degraded_BCHW.shape[1] == 1 and self.bands > 1
        wide = degraded_BCHW.expand(-1, self.bands, -1, -1) if is_gray else degraded_BCHW
        wide = wide.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device.type, dtype, enabled=bool(dtype)):
            restored: Tensor = self.network(wide).float()
            return restored.mean(1, keepdim=True) if is_gray else restored


@dataclass(frozen=True)
class _Batch:
    """Pieces on the device: their quantised results and their sums for the trust figures."""

    pieces: list[Piece]
    values: Tensor
    sums: Tensor


class BatchStream:
    """Windows in, windows out, in the order in which they are complete."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self._waiting: dict[tuple[Any, ...], list[Piece]] = {}
        self._launched: deque[_Batch] = deque()
        self._largest_batch = 2**30

    def run(self, tasks: Iterable[WindowTask | None]) -> Iterator[RestoredWindow]:
        """Restore windows. None among the tasks says that the next one is not there yet, so that
        what waits for a full batch is not held back."""
        for task in tasks:
            if task is None:
                yield from self._flush()
                continue
            for piece in Canvas(task, self.generator.scale).pieces():
                yield from self._add(piece)
        yield from self._flush()

    def _add(self, piece: Piece) -> Iterator[RestoredWindow]:
        box = piece.patch.read
        key = (box.height, box.width, len(piece.bands), piece.canvas.task.pixels.dtype)
        waiting = self._waiting.setdefault(key, [])
        waiting.append(piece)
        if len(waiting) >= self._batch_size(box):
            yield from self._launch(self._waiting.pop(key))

    def _batch_size(self, box: Box) -> int:
        return min(self._largest_batch, self._full_batch(box))

    def _full_batch(self, box: Box) -> int:
        pixels = BATCH_OUTPUT_PIXELS[self.generator.device.type] // self.generator.scale**2
        return max(1, pixels // box.num_pixels)

    def _flush(self) -> Iterator[RestoredWindow]:
        for key in list(self._waiting):
            yield from self._launch(self._waiting.pop(key))
        yield from self._land_down_to(0)

    def _launch(self, pieces: list[Piece]) -> Iterator[RestoredWindow]:
        """Start pieces of one shape; those that waited while batches became smaller are cut."""
        is_padded = self.generator.device.type == "cuda"
        while pieces:
            size = self._batch_size(pieces[0].patch.read)
            head = pieces[:size]
            num_patches = size if is_padded else len(head)
            started = self._try_start(head, num_patches)
            if isinstance(started, _Batch):
                self._launched.append(started)
                pieces = pieces[size:]
                yield from self._land_down_to(BATCHES_AHEAD[self.generator.device.type])
            elif num_patches > 1:
                # What is on the device comes home, then half as many patches at once.
                yield from self._make_room()
                self._largest_batch = num_patches // 2
            elif self._launched:
                yield from self._make_room()
            else:
                _fail(pieces[0], f"one patch does not fit into the device's memory: {started}")
                yield from _completed(head)
                pieces = pieces[1:]

    def _make_room(self) -> Iterator[RestoredWindow]:
        yield from self._land_down_to(0)
        torch.cuda.empty_cache()

    def _land_down_to(self, num_batches: int) -> Iterator[RestoredWindow]:
        while len(self._launched) > num_batches:
            yield from self._land(self._launched.popleft())

    def _try_start(self, pieces: list[Piece], num_patches: int) -> _Batch | str:
        """The batch, or what the device said where its memory did not suffice.

        Only words leave: an error that is still being handled holds the failed batch's tensors.
        """
        try:
            return self._start(pieces, num_patches)
        except torch.cuda.OutOfMemoryError as error:
            return str(error)

    def _start(self, pieces: list[Piece], num_patches: int) -> _Batch:
        generator = self.generator
        dtype = pieces[0].canvas.task.pixels.dtype
        degraded = self._to_device(np.stack([piece.pixels for piece in pieces]))
        # One shape of batch on a GPU: kernels are chosen once, and results do not depend on when
        # the inputs happened to arrive.
        missing = max(0, num_patches - len(pieces))
        padded = torch.cat([degraded, degraded[-1:].expand(missing, -1, -1, -1)])
        restored = generator.run(padded, generator.dtype_for(dtype))[: len(pieces)]
        sums = torch.stack(
            [_measure(p, degraded[i], restored[i], generator.scale) for i, p in enumerate(pieces)]
        )
        blends = pieces[0].canvas.blends
        return _Batch(pieces, restored if blends else _quantise(restored, dtype), sums)

    def _to_device(self, pixels: Pixels) -> Tensor:
        stored = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.generator.device)
        if pixels.dtype.kind == "f":
            return stored.float()
        return stored.float() / float(np.iinfo(str(pixels.dtype)).max)

    def _land(self, batch: _Batch) -> Iterator[RestoredWindow]:
        sums = batch.sums.cpu().numpy()
        values = batch.values.cpu().numpy()
        for piece, result, row in zip(batch.pieces, values, sums, strict=True):
            self._finish(piece, result, row)
        yield from _completed(batch.pieces)

    def _finish(self, piece: Piece, values: NDArray[Any], sums: NDArray[np.float32]) -> None:
        """Put a piece in its place; again in float32 where half precision was not finite."""
        canvas = piece.canvas
        num_bad = float(sums[0])
        if num_bad and self.generator.dtype_for(canvas.task.pixels.dtype):
            canvas.trust.add_non_finite(num_bad)
            again = self._try_exactly(piece)
            if isinstance(again, str):
                _fail(piece, f"one patch does not fit into the device's memory in float32: {again}")
                return
            values, sums = again
        if sums[0]:
            canvas.fail(piece, not_finite())
            return
        if not canvas.blends:
            samples = piece.patch.reach.num_pixels * len(piece.bands)
            num_values = samples * self.generator.scale**2
            canvas.trust.add_sums(list(piece.bands), sums[1:], samples, num_values)
        canvas.place(piece, values)

    def _try_exactly(self, piece: Piece) -> tuple[NDArray[Any], NDArray[np.float32]] | str:
        """Values and sums of one piece in float32, or what the device said; see `_try_start`."""
        canvas = piece.canvas
        try:
            degraded = self._to_device(piece.pixels[None])
            restored = self.generator.run(degraded, None)
            sums = _measure(piece, degraded[0], restored[0], self.generator.scale)
            stored = restored if canvas.blends else _quantise(restored, canvas.task.pixels.dtype)
            return stored.cpu().numpy()[0], sums.cpu().numpy()
        except torch.cuda.OutOfMemoryError as error:
            return str(error)


def _fail(piece: Piece, reason: str) -> None:
    piece.canvas.fail(piece, TooLargeError(reason))


def _completed(pieces: list[Piece]) -> Iterator[RestoredWindow]:
    """The windows that these pieces were the last of."""
    for canvas in dict.fromkeys(piece.canvas for piece in pieces):
        if canvas.is_complete:
            yield canvas.result()


def _measure(piece: Piece, degraded: Tensor, restored: Tensor, scale: int) -> Tensor:
    """Values that are not finite in what is kept, then the sums of `guard.measure`."""
    kept = piece.kept
    result = restored[:, *_slices(kept.scale(scale))]
    sums = measure(degraded[:, *_slices(kept)], result, scale)
    return torch.cat([(~result.isfinite()).sum()[None].float(), sums])


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.bottom), slice(box.left, box.right)


def _quantise(restored: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """0-1 to the stored type's range, rounded; on the device, so that less travels back."""
    cut = restored.clamp(0, 1)
    if dtype.kind == "f":
        return cut
    whole = cut.mul_(float(np.iinfo(str(dtype)).max)).round_()
    return whole.to(torch.uint8 if dtype == np.uint8 else torch.int32)

"""Patches of one shape through the generator, in full batches, whatever window they are of."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ganray.errors import TooLargeError
from ganray.raster.windows import Box, blend_weights
from ganray.restoration.canvas import Canvas, Piece, RestoredWindow, WindowTask, not_finite
from ganray.restoration.generator import Encoding, Generator, magnifier, restore_stored
from ganray.restoration.transfers import Arrival, open_transfers

# On a CPU a batch of one keeps the activations in the cache; a GPU wants as many as fit.
BATCH_OUTPUT_PIXELS = {"cpu": 1, "cuda": 2**23}
# While the device computes one batch, the figures of the one before travel, and the windows that
# the one before that has completed.
BATCHES_AHEAD = {"cpu": 0, "cuda": 1}
LOGGED_CHARACTERS = 500
# Weights of blends that stay on the device: a grid has few different ones.
KNOWN_WEIGHTS = 32

_log = logging.getLogger(__name__)

Restore = Callable[..., tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class _Batch:
    """Pieces on the device, placed on their canvases, and their sums for the trust figures."""

    pieces: list[Piece]
    sums: Arrival


_Finished = list[tuple[Canvas, Arrival | None]]


class BatchStream:
    """Windows in, windows out, in the order in which they are complete."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.transfers = open_transfers(generator.device)
        self._restore: Restore = restore_stored
        if generator.compiles:
            # Few programs: not one for every size of patch and batch.
            self._restore = torch.compile(restore_stored, dynamic=True)
        self._generators = {
            "restore": generator,
            "magnify": magnifier(generator, "magnify"),
            "repeat": magnifier(generator, "repeat"),
        }
        self._ahead = BATCHES_AHEAD[generator.device.type]
        self._waiting: dict[tuple[Any, ...], list[Piece]] = {}
        self._launched: deque[_Batch] = deque()
        self._finished: deque[_Finished] = deque()
        self._known_weights: dict[tuple[int, Box, Box], Tensor] = {}
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
        kind = piece.part.treatment, len(piece.bands), piece.canvas.blends
        key = (box.height, box.width, piece.encoding, *kind)
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
                yield from self._land_down_to(self._ahead)
            elif num_patches > 1:
                # What is on the device comes home, then half as many patches at once.
                yield from self._make_room()
                self._largest_batch = num_patches // 2
            elif self._launched or self._finished:
                yield from self._make_room()
            else:
                _fail(pieces[0], f"one patch does not fit into the device's memory: {started}")
                self._finish(head)
                pieces = pieces[1:]

    def _make_room(self) -> Iterator[RestoredWindow]:
        yield from self._land_down_to(0)
        torch.cuda.empty_cache()

    def _land_down_to(self, num_batches: int) -> Iterator[RestoredWindow]:
        while len(self._launched) > num_batches:
            self._land(self._launched.popleft())
        while len(self._finished) > num_batches:
            for canvas, values in self._finished.popleft():
                yield canvas.result(values.wait() if values else None)

    def _try_start(self, pieces: list[Piece], num_patches: int) -> _Batch | str:
        """The batch, or what the device said where its memory did not suffice.

        Only words leave: an error that is still being handled holds the failed batch's tensors.
        """
        try:
            return self._start(pieces, num_patches)
        except torch.cuda.OutOfMemoryError as error:
            return str(error)

    @torch.inference_mode()
    def _start(self, pieces: list[Piece], num_patches: int) -> _Batch:
        encoding = pieces[0].encoding
        # One shape of batch on a GPU: kernels are chosen once, and results do not depend on when
        # the inputs happened to arrive.
        missing = max(0, num_patches - len(pieces))
        padded = [*pieces, *[pieces[-1]] * missing]
        restored, sums = self._run(padded, encoding, exactly=False)
        self._place(pieces, restored, sums)
        return _Batch(pieces, self.transfers.fetch(sums[: len(pieces)]))

    def _run(
        self, pieces: list[Piece], encoding: Encoding, *, exactly: bool
    ) -> tuple[Tensor, Tensor]:
        stored = np.stack([piece.samples for piece in pieces])
        if stored.dtype == np.uint16:
            stored = stored.view(np.int16)
        rounds = not pieces[0].canvas.blends
        stored_BHWC, kept = self.transfers.send(stored), self._kept(pieces)
        generator = self._generators[pieces[0].part.treatment]
        dtype = None if exactly else generator.dtype_for(encoding)
        if generator.compiles and dtype:
            return self._run_compiled(generator, stored_BHWC, kept, encoding, dtype, rounds=rounds)
        return restore_stored(generator, stored_BHWC, kept, encoding, dtype, rounds=rounds)

    def _run_compiled(self, *arguments: Any, rounds: bool) -> tuple[Tensor, Tensor]:
        try:
            return self._restore(*arguments, rounds=rounds)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            # Compilers raise anything: on a node without one for C, say. If it is the network that
            # is at fault, so it is when it is not compiled.
            _log.warning("event=not_compiled cause=%r", str(error)[:LOGGED_CHARACTERS])
            self._restore = restore_stored
            return self._restore(*arguments, rounds=rounds)

    def _kept(self, pieces: list[Piece]) -> Tensor | Box | None:
        boxes = [piece.kept for piece in pieces]
        # Boxes are numbers, and a program that has numbers compiled into it is for these alone.
        if not self.generator.compiles:
            if all(piece.keeps_all for piece in pieces):
                return None
            if len(boxes) == 1:
                return boxes[0]
        corners = [(box.top, box.left, box.bottom, box.right) for box in boxes]
        return self.transfers.send(np.array(corners))

    def _place(self, pieces: list[Piece], restored: Tensor, sums: Tensor) -> None:
        """Put results on their canvases. All memory is taken first: what is added is added once."""
        device = self.generator.device
        blends = pieces[0].canvas.blends
        weights = [self._weights(piece) if blends else None for piece in pieces]
        for piece in pieces:
            piece.canvas.open(device)
        if blends:
            # What is not finite is computed again, and must not be in the sum.
            is_bad = sums[:, 0, None, None, None] > 0
            restored = restored.masked_fill_(is_bad, 0)
        for index, piece in enumerate(pieces):
            piece.canvas.place(piece, restored[index], weights[index])

    def _weights(self, piece: Piece) -> Tensor:
        """Of what a piece reaches, (scale·h,scale·w,1); few patches of a grid differ in them."""
        patch, overlap = piece.patch, piece.canvas.task.grid.overlap
        origin = patch.core.top, patch.core.left
        key = overlap, patch.core.shift(*origin), patch.reach.shift(*origin)
        if key not in self._known_weights:
            if len(self._known_weights) >= KNOWN_WEIGHTS:
                self._known_weights.clear()
            weights = blend_weights(patch, overlap, self.generator.scale)
            self._known_weights[key] = self.transfers.send(weights[..., None])
        return self._known_weights[key]

    def _land(self, batch: _Batch) -> None:
        for piece, sums in zip(batch.pieces, batch.sums.wait(), strict=True):
            self._account(piece, sums)
        self._finish(batch.pieces)

    def _account(self, piece: Piece, sums: NDArray[np.float32]) -> None:
        """Add up a piece's figures; again in float32 where half precision was not finite."""
        canvas = piece.canvas
        num_values = piece.kept.num_pixels * len(piece.bands) * self.generator.scale**2
        if sums[0] and self._generators[piece.part.treatment].dtype_for(piece.encoding):
            canvas.trust.add_non_finite(num_values if piece.counts else 0)
            again = self._try_exactly(piece)
            if isinstance(again, str):
                _fail(piece, f"one patch does not fit into the device's memory in float32: {again}")
                return
            sums = again
        if sums[0]:
            canvas.count(piece, not_finite())
            return
        if piece.counts:
            num_samples = piece.num_compared * len(piece.bands)
            canvas.trust.add_sums(list(piece.bands), sums, num_samples, num_values)
        canvas.count(piece)

    def _try_exactly(self, piece: Piece) -> NDArray[np.float32] | str:
        """Restore one piece in float32: its sums, or what the device said; see `_try_start`."""
        try:
            with torch.inference_mode():
                restored, sums = self._run([piece], piece.encoding, exactly=True)
                self._place([piece], restored, sums)
                figures: NDArray[np.float32] = self.transfers.fetch(sums).wait()[0]
                return figures
        except torch.cuda.OutOfMemoryError as error:
            return str(error)

    def _finish(self, pieces: list[Piece]) -> None:
        """Send home the windows that these pieces were the last of."""
        canvases = [c for c in dict.fromkeys(p.canvas for p in pieces) if c.is_complete]
        self._finished.append([(canvas, self._send_home(canvas)) for canvas in canvases])

    def _send_home(self, canvas: Canvas) -> Arrival | None:
        """The window's values on their way, or None if it has failed."""
        for _ in range(2):
            if canvas.error is not None:
                return None
            sent = self._try_sending(canvas)
            if isinstance(sent, Arrival):
                return sent
            torch.cuda.empty_cache()
        canvas.error = TooLargeError(
            f"a window does not fit into the device's memory twice: {sent}; lower window_pixels"
        )
        return None

    @torch.inference_mode()
    def _try_sending(self, canvas: Canvas) -> Arrival | str:
        """See `_try_start`."""
        try:
            return self.transfers.fetch(canvas.finish())
        except torch.cuda.OutOfMemoryError as error:
            return str(error)


def _fail(piece: Piece, reason: str) -> None:
    piece.canvas.count(piece, TooLargeError(reason))

"""Pictures of a training: what it was shown, and validation images as it restores them over time.

Rank 0 makes them, at few steps that are known beforehand; they are stored with the checkpoints, so
that a training that goes on keeps them.
"""

import io
import logging
import math
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import nn

from ganray.errors import GanrayError
from ganray.pipelines.pairs import Pair, magnify_pair, restore_pair
from ganray.pipelines.picture_files import picture_of
from ganray.pipelines.train_config import TrainPlan
from ganray.pipelines.train_validation import build_restorer, validation_pair
from ganray.raster.image import Pixels
from ganray.report.encoding import Picture
from ganray.report.pictures import box_of, most_changed, spot_share
from ganray.training.config import StagesConfig
from ganray.training.state import TrainingState
from ganray.training.steps import Batch

PREFIX = "samples/"
DEGRADED, REFERENCE = "degraded", "reference"
PATCHES = PREFIX + "patches-"
"""Of the two sheets of patches that the first step learnt from."""
NUM_IMAGES = 4
NUM_TIMES = 8
"""Stretches of a training, after each of which pictures are made."""
SIDE = 256
"""Longest side of a picture, in pixels of the reference."""
SHEET_PATCHES = 8
GAP_PIXELS, GAP = 2, 128

Validate = Callable[[nn.Module], dict[str, float]]
Keep = Callable[[str, bytes], object]
"""Gets a key and its bytes, to be stored with the next checkpoint."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watched:
    """A validation image that pictures are made of: its number, its key, where they stand."""

    row: int
    key: str
    folder: str


def watched_images(plan: TrainPlan) -> tuple[Watched, ...]:
    """A few validation images, evenly spread."""
    keys = plan.data.validation.keys
    rows = np.linspace(0, len(keys) - 1, min(NUM_IMAGES, len(keys))).round().astype(int).tolist()
    return tuple(Watched(row, keys[row], _folder(keys[row])) for row in rows)


def _folder(key: str) -> str:
    """Named for a reader, and different for every key."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", key.rpartition("/")[2])[:40]
    return f"{PREFIX}{name}-{zlib.crc32(key.encode(errors='surrogateescape')):08x}/"


def step_key(folder: str, step: int) -> str:
    return f"{folder}step-{step:08d}.png"


def picture_steps(stages: StagesConfig) -> tuple[int, ...]:
    """The steps from which pictures are due: the start, each stretch's end, and fidelity's."""
    total = stages.total_steps
    even = (-(-total * part // NUM_TIMES) for part in range(NUM_TIMES + 1))
    return tuple(sorted({*even, stages.fidelity.steps}))


class Sampler:
    """Makes the pictures of one training. A failure ends them, and never the training."""

    def __init__(self, plan: TrainPlan, state: TrainingState, device: torch.device, keep: Keep):
        self._plan, self._state, self._device, self._keep = plan, state, device, keep
        # What stands at a checkpoint stands in the store.
        self._last = state.step if state.step else -1
        self._pairs: list[tuple[Watched, Pair]] | None = None

    def seeing(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches as they come; of a training's first one a sheet is kept."""
        for batch in batches:
            if self._state.step == 0:
                self._try(lambda batch=batch: self._keep_sheets(batch))  # type: ignore[misc]
            yield batch

    def showing(self, validate: Validate) -> Validate:
        """Validation that also makes the pictures that are due."""

        def validate_and_show(generator: nn.Module) -> dict[str, float]:
            measured = validate(generator)
            self.take_due()
            return measured

        return validate_and_show

    def take_due(self) -> None:
        """Pictures by the averaged generator, if some are due that are not made yet."""
        steps = picture_steps(self._plan.config.stages)
        if any(self._last < step <= self._state.step for step in steps):
            self.take()

    def take(self) -> None:
        """Pictures by the averaged generator as it is now."""
        if self._last < self._state.step:
            self._last = self._state.step
            self._try(self._restore_all)

    def _try(self, make: Callable[[], None]) -> None:
        try:
            make()
        except (GanrayError, RuntimeError, OSError) as error:
            # PyTorch's errors are RuntimeErrors, that of a full device too.
            _log.warning("event=no_pictures step=%d cause=%r", self._state.step, str(error))

    def _restore_all(self) -> None:
        if self._pairs is None:
            self._pairs = []
            self._pairs = list(self._cut_pairs())
        if not self._pairs:
            return
        restorer = build_restorer(self._plan, self._state.generator_ema, self._device)
        for watched, pair in self._pairs:
            restored = restore_pair(restorer, pair)
            self._keep(step_key(watched.folder, self._state.step), _png(picture_of(restored)))

    def _cut_pairs(self) -> Iterator[tuple[Watched, Pair]]:
        for watched in watched_images(self._plan):
            try:
                pair = cut_pair(validation_pair(self._plan, watched.row), self._plan.samples.scale)
            except GanrayError:
                # Validation tells of it.
                continue
            assert pair.reference is not None
            for name, pixels in ((DEGRADED, pair.degraded), (REFERENCE, pair.reference)):
                self._keep(f"{watched.folder}{name}.png", _png(picture_of(pixels)))
            yield watched, pair

    def _keep_sheets(self, batch: Batch) -> None:
        for name, patches in ((DEGRADED, batch.degraded), (REFERENCE, batch.reference)):
            few = patches[:SHEET_PATCHES].float().clamp(0, 1).cpu().numpy()
            self._keep(f"{PATCHES}{name}.png", _png(_sheet(few, batch)))


def cut_pair(pair: Pair, scale: int) -> Pair:
    """The part of a pair, SIDE pixels of the reference at most, that degradation changed most."""
    assert pair.reference is not None
    _, height, width = pair.degraded.shape
    share = spot_share(scale * width, scale * height, SIDE)
    plain = magnify_pair(pair, scale)
    spot = most_changed(picture_of(plain), picture_of(pair.reference), share)
    box = box_of(spot, height, width)
    small = slice(box.top, box.bottom), slice(box.left, box.right)
    large = tuple(slice(scale * s.start, scale * s.stop) for s in small)
    return replace(
        pair,
        degraded=np.ascontiguousarray(pair.degraded[:, *small]),
        reference=np.ascontiguousarray(pair.reference[:, *large]),
        mask=None if pair.mask is None else np.ascontiguousarray(pair.mask[small]),
    )


def _sheet(patches_BCHW: Pixels, batch: Batch) -> Picture:
    """Patches in rows, all at the reference's size by repetition of pixels."""
    side = batch.reference.shape[-1]
    factor = side // patches_BCHW.shape[-1]
    pictures = [picture_of(patch).repeat(factor, 0).repeat(factor, 1) for patch in patches_BCHW]
    # Rather wide than high: 4 columns of 8, 2 of 4.
    columns = -(-len(pictures) // math.isqrt(len(pictures)))
    rows, step = -(-len(pictures) // columns), side + GAP_PIXELS
    shape = (rows * step - GAP_PIXELS, columns * step - GAP_PIXELS, *pictures[0].shape[2:])
    sheet = np.full(shape, GAP, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = step * (number // columns), step * (number % columns)
        sheet[top : top + side, left : left + side] = picture
    return sheet


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()

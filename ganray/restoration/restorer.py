"""Pixels through a generator, patch by patch: the one inference path of ganray.

The halo of every patch is the generator's receptive-field radius, so that the tiled result
is the whole-image result up to float noise, and stitching is placement.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ganray.config import Section
from ganray.errors import RestorationError
from ganray.models.catalog import on_device
from ganray.models.checkpoint import Checkpoint, load_checkpoint
from ganray.raster.image import FloatPixels, Pixels, from_float, to_float
from ganray.raster.windows import Grid, Patch, Window, crop, place
from ganray.restoration.guard import Trust, TrustMeter

PATCH_CORE = 256
BATCH_PIXELS = {"cpu": 2**17, "cuda": 2**22}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class RestorerConfig(Section):
    """How a generator is applied."""

    window_pixels: int = 2048
    """Side of a window's core in input pixels, rounded to whole patches."""
    precision: Precision = "auto"
    """Of the generator's arithmetic; `auto` is float32."""
    device: str = "auto"
    """cpu, cuda, cuda:1 …; `auto` is cuda where there is one."""


@dataclass(frozen=True)
class Restoration:
    """A restored image, how far to trust it, and the number of windows it took."""

    pixels: Pixels
    trust: Trust
    num_windows: int


class Restorer:
    """A generator ready to restore pixels; holds it on its device."""

    def __init__(self, checkpoint: Checkpoint, config: RestorerConfig | None = None) -> None:
        self.checkpoint = checkpoint
        self.config = config or RestorerConfig()
        self.device = _device(self.config.device)
        self.generator = on_device(checkpoint.generator, self.device).eval()

    @classmethod
    def load(cls, generator: str, config: RestorerConfig | None = None) -> "Restorer":
        """A restorer from a catalog name, a path or a URI."""
        return cls(load_checkpoint(generator), config)

    @property
    def scale(self) -> int:
        return self.checkpoint.scale

    def restore(self, pixels: Pixels, *, alpha: int | None = None) -> Pixels:
        """Restore uint8, uint16 or 0-1 float32 pixels (C,H,W) to (C,scale·H,scale·W).

        The type is kept. One band is restored as gray. `alpha` is the index of an alpha band,
        which is restored as gray beside the colour. Raises RestorationError if the bands do
        not fit the generator or the result is not finite.
        """
        return self.restore_with_trust(pixels, alpha=alpha).pixels

    def restore_with_trust(self, pixels: Pixels, *, alpha: int | None = None) -> Restoration:
        """`restore`, with the figures that the ledger records."""
        if pixels.ndim != 3:
            raise RestorationError(
                f"the pixels have shape {pixels.shape}; expected (bands, height, width)"
            )
        bands, height, width = pixels.shape
        grid = self._grid(height, width)
        colour = [band for band in range(bands) if band != alpha]
        self._require_bands(len(colour))
        restored = np.empty((bands, height * self.scale, width * self.scale), pixels.dtype)
        meter = TrustMeter(bands)
        for window in grid.windows():
            planes = _as_float(crop(pixels, window.read))
            result = np.empty((bands, *_core_shape(window, self.scale)), np.float32)
            result[colour] = self._restore_bands(planes[colour], grid, window)
            if alpha is not None:
                result[alpha] = self._restore_bands(planes[[alpha]], grid, window)[0]
            core = window.core.shift(window.read.top, window.read.left)
            meter.add(crop(planes, core), result, self.scale)
            place(restored, _as_dtype(result, pixels.dtype), window.core.scale(self.scale))
        return Restoration(restored, meter.result(), grid.num_windows)

    def _grid(self, height: int, width: int) -> Grid:
        halo = self.checkpoint.radius
        return Grid(
            height=height,
            width=width,
            halo=halo,
            patch_side=PATCH_CORE + 2 * halo,
            window_side=self.config.window_pixels,
        )

    def _require_bands(self, bands: int) -> None:
        if bands not in (1, self.checkpoint.bands):
            raise RestorationError(
                f"the image has {bands} colour bands and the generator takes "
                f"{self.checkpoint.bands} (or gray); name an alpha band by alpha=, or choose a "
                f"generator for {bands} bands"
            )

    def _restore_bands(self, planes: FloatPixels, grid: Grid, window: Window) -> FloatPixels:
        """Restore a window's read area (1 or bands,h,w) to its core; gray goes in repeated."""
        bands = self.checkpoint.bands
        wide = planes if planes.shape[0] == bands else np.repeat(planes, bands, axis=0)
        restored = np.empty((bands, *_core_shape(window, self.scale)), np.float32)
        patches = list(grid.patches(window.core))
        for patch, output in self._restore_patches(wide, patches, window):
            kept = patch.core.shift(patch.read.top, patch.read.left).scale(self.scale)
            target = patch.core.shift(window.core.top, window.core.left).scale(self.scale)
            place(restored, crop(output, kept), target)
        if not np.isfinite(restored).all():
            raise RestorationError(
                "the generator gave values that are not finite, in float32 too; the input is not "
                "restored"
            )
        return restored if planes.shape[0] == bands else restored.mean(axis=0, keepdims=True)

    def _restore_patches(
        self, planes: FloatPixels, patches: list[Patch], window: Window
    ) -> Iterator[tuple[Patch, FloatPixels]]:
        size = max(1, BATCH_PIXELS[self.device.type] // patches[0].read.num_pixels)
        for begin in range(0, len(patches), size):
            group = patches[begin : begin + size]
            reads = [patch.read.shift(window.read.top, window.read.left) for patch in group]
            outputs = self._forward(np.stack([crop(planes, read) for read in reads]))
            yield from zip(group, outputs, strict=True)

    def _forward(self, batch_BCHW: FloatPixels) -> FloatPixels:
        """Run the generator; again in float32 where half precision gave non-finite values."""
        degraded = torch.from_numpy(batch_BCHW).to(self.device)
        degraded = degraded.contiguous(memory_format=torch.channels_last)
        restored = self._generate(degraded, DTYPES.get(self.config.precision))
        if self.config.precision in DTYPES and not bool(restored.isfinite().all()):
            restored = self._generate(degraded, None)
        output: FloatPixels = restored.cpu().numpy()
        return output

    def _generate(self, degraded: Tensor, half: torch.dtype | None) -> Tensor:
        with torch.inference_mode(), torch.autocast(self.device.type, half, enabled=bool(half)):
            restored: Tensor = self.generator(degraded).float()
        return restored


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _core_shape(window: Window, scale: int) -> tuple[int, int]:
    return window.core.height * scale, window.core.width * scale


def _as_float(pixels: Pixels) -> FloatPixels:
    if np.issubdtype(pixels.dtype, np.floating):
        return pixels.astype(np.float32)
    return to_float(pixels)


def _as_dtype(pixels: FloatPixels, dtype: np.dtype[np.generic]) -> Pixels:
    if np.issubdtype(dtype, np.floating):
        return np.clip(pixels, 0, 1).astype(dtype)
    return from_float(pixels, str(dtype))

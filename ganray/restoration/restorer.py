"""Pixels through a generator, patch by patch: the one inference path of ganray.

`Restorer.restore` takes a whole image, `Restorer.restore_windows` a stream of windows of many
images, whose patches share batches. Stitching is placement where the halo is the generator's
receptive-field radius, and a blend of overlaps where that would be too deep.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ganray.config import Section
from ganray.errors import RestorationError
from ganray.models.catalog import on_device
from ganray.models.checkpoint import Checkpoint, load_checkpoint
from ganray.raster.image import Pixels, empty_pixels
from ganray.raster.windows import Grid, crop, place
from ganray.restoration.batches import BatchStream
from ganray.restoration.canvas import RestoredWindow, WindowTask
from ganray.restoration.generator import Generator
from ganray.restoration.guard import Trust, TrustMeter
from ganray.restoration.presentation import require_bands
from ganray.restoration.tiling import choose_tiling

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}

Mask = NDArray[np.bool_]

Precision = Literal["auto", "float32", "bfloat16", "float16"]


class RestorerConfig(Section):
    """How a generator is applied."""

    window_pixels: int = 2048
    """Side of a window's core in input pixels, rounded to whole patches."""
    precision: Precision = "auto"
    """Of the generator's arithmetic; `auto` is float32 unless a half type was found exact."""
    compile: bool = False
    """Compile half precision on CUDA: up to a minute at the start for about twice the speed."""
    device: str = "auto"
    """cpu, cuda, cuda:1 …; `auto` is cuda where there is one."""


@dataclass(frozen=True)
class Restoration:
    """A restored image, how far to trust it, and the number of windows it took."""

    pixels: Pixels
    trust: Trust
    num_windows: int


class Restorer:
    """A generator ready to restore pixels; holds it on its device.

    `half` is the type that `precision=auto` uses for 8-bit pixels; see `qualify`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: RestorerConfig | None = None,
        *,
        half: torch.dtype | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.config = config or RestorerConfig()
        self.tiling = choose_tiling(checkpoint.radius, checkpoint.alignment)
        device = choose_device(self.config.device)
        network = on_device(checkpoint.generator, device).eval()
        is_auto = self.config.precision == "auto"
        asked = None if is_auto else DTYPES[self.config.precision]
        self.generator = Generator(
            network=network,
            device=device,
            bands=checkpoint.bands,
            scale=checkpoint.scale,
            half=half if is_auto else asked,
            deep=asked,
            compiles=self.config.compile and device.type == "cuda",
            takes_mask=checkpoint.takes_mask,
        )

    @classmethod
    def load(cls, generator: str, config: RestorerConfig | None = None) -> "Restorer":
        """A restorer from a catalog name, a path or a URI."""
        return cls(load_checkpoint(generator), config)

    @property
    def scale(self) -> int:
        return self.checkpoint.scale

    def restore(
        self, pixels: Pixels, *, alpha: int | None = None, mask: Mask | None = None
    ) -> Pixels:
        """Restore uint8, uint16 or 0-1 float32 pixels (C,H,W) to (C,scale·H,scale·W).

        The type is kept. One band is restored as gray. `alpha` is the index of an alpha band,
        which is restored as gray beside the colour. `mask` (H,W) is of bool and true where a
        pixel is lost; a generator that takes a mask needs it, others take none. The result is the
        generator's everywhere, not only there. Raises RestorationError if bands or mask do not
        fit the generator or the result is not finite.
        """
        return self.restore_with_trust(pixels, alpha=alpha, mask=mask).pixels

    def restore_with_trust(
        self, pixels: Pixels, *, alpha: int | None = None, mask: Mask | None = None
    ) -> Restoration:
        """`restore`, with the figures that the ledger records."""
        if pixels.ndim != 3:
            raise RestorationError(
                f"the pixels have shape {pixels.shape}; expected (bands, height, width)"
            )
        bands, height, width = pixels.shape
        require_bands(bands - (alpha is not None), self.checkpoint.bands)
        _require_mask(mask, (height, width), takes_mask=self.checkpoint.takes_mask)
        grid = self.grid(height, width)
        scale = self.scale
        restored = empty_pixels(bands, height * scale, width * scale, pixels.dtype)
        meter = TrustMeter(bands)
        for result in self.restore_windows(window_tasks(pixels, grid, alpha, mask=mask)):
            if result.error is not None:
                raise result.error
            assert result.pixels is not None
            place(restored, result.pixels, result.task.window.core.scale(scale))
            meter.merge(result.trust.as_dict())
        return Restoration(restored, meter.result(), grid.num_windows)

    def restore_windows(self, tasks: Iterable[WindowTask | None]) -> Iterator[RestoredWindow]:
        """Restore windows of any images, in the order in which they are complete.

        None among the tasks says that the next one is not there yet: what waits for a full
        batch is then run as it is. A window that fails carries its error. Tasks have a mask if
        and only if the generator takes one.
        """
        return BatchStream(self.generator).run(tasks)

    def blank_mask(self, height: int, width: int) -> Mask | None:
        """A mask that calls nothing lost, for a generator that takes one."""
        return np.zeros((height, width), np.bool_) if self.checkpoint.takes_mask else None

    def grid(self, height: int, width: int) -> Grid:
        """The patches and windows of an image of this size."""
        return self.tiling.grid(height, width, self.config.window_pixels)


def window_tasks(
    pixels: Pixels,
    grid: Grid,
    alpha: int | None,
    token: object = None,
    *,
    mask: Mask | None = None,
) -> Iterator[WindowTask]:
    """Every window of an image that is in memory."""
    for window in grid.windows():
        lost = None if mask is None else crop(mask[None], window.read)[0]
        yield WindowTask(crop(pixels, window.read), grid, window, alpha, token, mask=lost)


def _require_mask(mask: Mask | None, sides: tuple[int, int], *, takes_mask: bool) -> None:
    if mask is None and takes_mask:
        raise RestorationError(
            "the generator takes a mask of lost pixels and was given none; give mask=, an array "
            "(height, width) that is true where a pixel is lost, or choose another generator"
        )
    if mask is not None and not takes_mask:
        raise RestorationError(
            "the generator takes no mask of lost pixels and was given one; leave mask out, or "
            "choose a generator that takes one"
        )
    if mask is not None and getattr(mask, "dtype", None) != np.bool_:
        found = getattr(mask, "dtype", type(mask).__name__)
        raise RestorationError(
            f"the mask is of {found}; expected an array of bool: give mask > 0.5, say, so that it "
            "is true where a pixel is lost"
        )
    if mask is not None and mask.shape != sides:
        raise RestorationError(f"the mask has shape {mask.shape}; expected {sides}")


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is cuda where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)

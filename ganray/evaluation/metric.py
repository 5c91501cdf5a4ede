"""What is measured (`Sample`) and what measures it (`Metric`).

The caller quantises restored images first, as an encoder would, so that a metric judges what
a file holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeVar

from ganray.errors import ConfigError, RestorationError, UnsupportedImageError
from ganray.raster.image import FloatPixels
from ganray.raster.resample import magnify
from ganray.raster.validity import Mask

CROPPED: Final = "after a crop of `crop` pixels (the scale) from each border"
"""How a definition says what is cut."""
Better = Literal["higher", "lower"]
Need = Literal["reference", "degraded", "lost"]
AnyPixels = TypeVar("AnyPixels", FloatPixels, Mask)


@dataclass(frozen=True)
class Sample:
    """One restored image and what it is held against; float32 pixels in 0 to 1.

    `restored` and `reference` are (C,scale·h,scale·w), `degraded` is (C,h,w), and `lost` (h,w) is
    true where the degraded image has lost a pixel. Raises ConfigError for shapes that do not fit,
    RestorationError for a restored image, and UnsupportedImageError for another one, with values
    outside 0 to 1 or NaN.
    """

    restored: FloatPixels
    reference: FloatPixels | None = None
    degraded: FloatPixels | None = None
    lost: Mask | None = None
    scale: int = 1

    def __post_init__(self) -> None:
        self._check_shapes()
        _check_range(self.restored, "restored", RestorationError)
        for role in ("reference", "degraded"):
            if (pixels := getattr(self, role)) is not None:
                _check_range(pixels, role, UnsupportedImageError)

    @property
    def bands(self) -> int:
        """How many there are, of all its images."""
        return int(self.restored.shape[0])

    @cached_property
    def magnified(self) -> FloatPixels:
        """The degraded image, bicubic, at the restored one's size."""
        assert self.degraded is not None
        return magnify(self.degraded, *self.restored.shape[1:])

    def _check_shapes(self) -> None:
        shape = self.restored.shape
        if self.reference is not None and self.reference.shape != shape:
            raise ConfigError(
                f"the restored image has shape {shape} and its reference "
                f"{self.reference.shape} (bands, height, width), expected the same; check that "
                "the two belong together and that the generator's scale is theirs"
            )
        if len(shape) != 3 or not self.restored.size:
            raise ConfigError(
                f"cannot measure images of shape {shape}, expected (bands, height, width) with "
                "at least one of each"
            )
        bands, height, width = shape
        small = (height // self.scale, width // self.scale)
        whole = height % self.scale == 0 and width % self.scale == 0
        if self.degraded is not None and not (whole and self.degraded.shape == (bands, *small)):
            raise ConfigError(
                f"the degraded image has shape {self.degraded.shape} and the restored one {shape} "
                f"(bands, height, width), expected {self.scale} times its size; check that the "
                "two belong together and that the generator's scale is theirs"
            )
        if self.lost is not None and not (whole and self.lost.shape == small):
            raise ConfigError(
                f"the mask of lost pixels has shape {self.lost.shape} (height, width) and the "
                f"restored image {shape}, expected {self.scale} times its size; check that the "
                "two belong together"
            )


@dataclass(frozen=True)
class Metric:
    """One number about a sample, and the sentence that says what it is."""

    name: str
    definition: str
    better: Better
    needs: tuple[Need, ...]
    function: Callable[[Sample, int], float | None]
    """(sample, crop) to the value, of samples that have what is needed and bands that suit."""
    bands: tuple[int, ...] = ()
    """The numbers of bands that it is defined for; empty is any."""

    def measure(self, sample: Sample, crop: int) -> float | None:
        """The value, after cutting `crop` pixels from every border; None where it is undefined."""
        assert crop >= 0, crop
        if not self.suits(sample.bands) or any(getattr(sample, n) is None for n in self.needs):
            return None
        return self.function(sample, crop)

    def suits(self, bands: int) -> bool:
        """Whether it is defined for images of so many bands."""
        return not self.bands or bands in self.bands


def cut(pixels: AnyPixels, crop: int) -> AnyPixels:
    """(..., H, W) without `crop` pixels at each border, down to an empty array."""
    height, width = pixels.shape[-2:]
    return pixels[..., crop : max(crop, height - crop), crop : max(crop, width - crop)]


def cut_pair(sample: Sample, crop: int) -> tuple[FloatPixels, FloatPixels]:
    """Restored and reference, both cut."""
    assert sample.reference is not None
    return cut(sample.restored, crop), cut(sample.reference, crop)


def _check_range(
    pixels_CHW: FloatPixels, role: str, error: type[RestorationError | UnsupportedImageError]
) -> None:
    lowest, highest = pixels_CHW.min(), pixels_CHW.max()
    # One NaN makes both extremes NaN, and every comparison with NaN is false.
    if not (lowest >= 0.0 and highest <= 1.0):
        raise error(
            f"the {role} image holds values from {lowest} to {highest}, expected finite values "
            "from 0 to 1; fill nodata and quantise both images before measuring"
        )

"""How an image is cut into patches for a generator: exact halos, or blended overlaps."""

from dataclasses import dataclass

from ganray.raster.windows import Grid

PATCH_CORE = 256
EXACT_HALO = 64
"""Largest receptive-field radius that is worth a whole halo: beyond, patches are mostly halo."""
BLENDED_HALO = 32
BLENDED_OVERLAP = 16


@dataclass(frozen=True)
class Tiling:
    """Halo and overlap of a generator's patches, in input pixels.

    With a halo of the receptive-field radius the tiled result is the whole-image result. A
    smaller halo leaves a seam, which overlaps blend and `qualify` measures.
    """

    halo: int
    overlap: int
    alignment: int = 1

    @property
    def is_exact(self) -> bool:
        return self.overlap == 0

    def grid(self, height: int, width: int, window_pixels: int) -> Grid:
        """The patches and windows of one image."""
        return Grid(
            height=height,
            width=width,
            halo=self.halo,
            patch_side=PATCH_CORE + 2 * (self.halo + self.overlap),
            window_side=window_pixels,
            overlap=self.overlap,
            alignment=self.alignment,
        )


def choose_tiling(radius: int, alignment: int = 1) -> Tiling:
    """The tiling for a generator of this receptive-field radius, whose patches must begin at
    multiples of `alignment` to be seen as in the whole image."""
    if radius <= EXACT_HALO:
        return Tiling(-(-radius // alignment) * alignment, 0, alignment)
    return Tiling(BLENDED_HALO, BLENDED_OVERLAP, alignment)

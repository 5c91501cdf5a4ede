"""Something for a generator to see where an image has no values, so that nothing bleeds."""

import numpy as np

from ganray.raster.image import Pixels
from ganray.raster.validity import Mask


def fill(pixels: Pixels, valid: Mask | None) -> Pixels:
    """(C,H,W) pixels with the nearest valid value of their band where there is none, and 0 in
    a band without any. `valid` is (C,H,W); None is everywhere.

    What fills a pixel is at most as far from it as any valid pixel is.
    """
    if valid is None:
        return pixels
    filled = pixels.copy()
    is_alike = valid.shape[0] == 1 or (valid == valid[:1]).all()
    nearest = _nearest(valid[0]) if is_alike else None
    for band, is_valid in enumerate(valid):
        if not is_valid.any():
            filled[band] = 0
        elif not is_valid.all():
            rows, columns = nearest if nearest is not None else _nearest(is_valid)
            filled[band] = pixels[band][rows, columns]
    return filled


def _nearest(is_valid: Mask) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the valid pixel that is nearest to each one."""
    # Few inputs need it, and its import takes a fifth of a second.
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~is_valid, return_distances=False, return_indices=True)
    return rows, columns

"""Files of NumPy's arrays (.npz), read without running what else they hold."""

import io
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganray.errors import CheckpointError


def is_npz(data: bytes) -> bool:
    """An .npz is a zip of .npy; torch.save writes zips too, of a data.pkl."""
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def open_npz(data: bytes, source: str) -> dict[str, NDArray[Any]]:
    """Its arrays, all finite numbers; raises CheckpointError, in which `source` names the file."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        broken = [name for name, array in found.items() if not np.isfinite(array).all()]
    except (ValueError, OSError, TypeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{source} ({len(data)} bytes) is a damaged .npz, or holds more than numbers: "
            f"{error}; expected arrays of weights"
        ) from error
    if broken:
        raise CheckpointError(f"{source} holds NaN or infinity in {broken[0]}; copy it again")
    return found

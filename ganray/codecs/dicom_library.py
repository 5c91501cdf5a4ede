"""The door to pydicom, an extra: imported on first use, silenced, its errors made ganray's own."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from ganray.errors import GanrayError, MissingExtraError, TooLargeError, UndecodableError

Dataset = Any
"""A pydicom Dataset; without a type here, since pydicom need not be installed."""


def require_pydicom() -> ModuleType:
    """The module pydicom; MissingExtraError names the extra that installs it and its decoders."""
    try:
        import openjpeg  # noqa: F401  pydicom finds its decoders by itself, if they are there
        import pydicom
        import pylibjpeg  # noqa: F401
        import rle  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f'DICOM needs pydicom and its decoders ({error}): pip install "ganray[dicom]"'
        ) from error
    _silence()
    module: ModuleType = pydicom
    return module


@cache
def _silence() -> None:
    # pydicom warns of every small deviation from the standard, of which archives are full, and
    # on two ways. A filter is global, but unlike `catch_warnings` safe among threads.
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


@contextmanager
def reading() -> Iterator[None]:
    """Turn whatever is raised on a damaged file into one of ganray's errors.

    pydicom and the decoders raise nearly anything there, RecursionError and struct.error among
    them, so that the boundary has to be this wide.
    """
    try:
        yield
    except GanrayError:
        raise
    except MemoryError:
        raise TooLargeError(
            "the image needs more memory than there is; lower limits.pixels"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UndecodableError(f"damaged or truncated DICOM: {reason[:300]}") from error


def tags(dataset: Dataset) -> list[int]:
    """Tags of a data set at its own depth; iterating over it would decode every value."""
    return [int(tag) for tag in dataset.keys()]  # noqa: SIM118

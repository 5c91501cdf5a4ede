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


@cache
def require_pydicom() -> ModuleType:
    """The module pydicom; MissingExtraError names the extra that installs it."""
    try:
        import pydicom
    except ImportError as error:
        raise MissingExtraError(
            f'DICOM needs pydicom ({error}): pip install "ganray[dicom]"'
        ) from error
    # pydicom warns of every small deviation from the standard, of which archives are full, and
    # in two ways. A filter is global, but unlike `catch_warnings` safe among threads.
    warnings.filterwarnings("ignore", module="pydicom")
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    module: ModuleType = pydicom
    return module


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


def elements(dataset: Dataset) -> dict[int, Any]:
    """Elements by their tags, of one depth; iterating over a data set would decode every value."""
    return {int(tag): element for tag, element in dataset.items()}


def value(dataset: Dataset, keyword: str) -> Any:
    """The value of an element, None if it is missing or empty.

    Much faster than `Dataset.get` for what is missing.
    """
    tag = require_pydicom().datadict.tag_for_keyword(keyword)
    found = dataset[tag].value if tag in dataset.keys() else None  # noqa: SIM118
    return None if found is None or found == "" else found

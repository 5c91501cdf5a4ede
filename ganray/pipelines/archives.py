"""Archives as jobs name them: a URI, a folder, or a part of the embedded sample."""

import logging
import tempfile
from pathlib import Path

from ganray import __version__
from ganray.errors import EmptyArchiveError
from ganray.manifest import Input, Selection, Unreadable, list_images, probe_all
from ganray.sample import write_sample
from ganray.storage import PREFLIGHT, Store, open_store

logger = logging.getLogger(__name__)

SAMPLE = "sample:"


def resolve_archive(uri: str) -> str:
    """The URI of an archive; `sample:` and its parts are written to a temporary folder first."""
    if not uri.startswith(SAMPLE):
        return uri
    folder = Path(tempfile.gettempdir()) / f"ganray-sample-{__version__}"
    write_sample(folder)
    return str(folder / uri.removeprefix(SAMPLE))


def open_archive(uri: str) -> Store:
    """Open an archive after a first request, so that a wrong name or key fails at once."""
    next(iter(open_store(uri, retry=PREFLIGHT).list()), None)
    return open_store(uri)


def readable_inputs(uri: str, selection: Selection, *, smallest_side: int = 1) -> list[Input]:
    """The inputs of an archive that can be read and have sides of at least `smallest_side`.

    The others are logged by name. Raises EmptyArchiveError if none is left.
    """
    store = open_archive(uri)
    found: list[Input] = []
    for item in probe_all(store, list_images(store, selection)):
        if isinstance(item, Unreadable):
            logger.warning("skipped key=%s reason=%s", item.info.key, item.error)
        elif min(item.height, item.width) < smallest_side:
            logger.warning(
                "skipped key=%s reason=%dx%d is smaller than %d",
                *(item.key, item.width, item.height, smallest_side),
            )
        else:
            found.append(item)
    if not found:
        raise EmptyArchiveError(
            f"{uri} holds no readable image with sides of at least {smallest_side} pixels that "
            "include and exclude select; check the URI and the globs"
        )
    return found

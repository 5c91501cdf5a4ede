"""Archives as jobs name them: a URI, a folder, or a part of the embedded sample."""

import getpass
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ganray import __version__
from ganray.codecs import photo
from ganray.codecs.catalog import DEFAULTS, Codecs, is_video
from ganray.config import default_registry
from ganray.errors import ConfigError, EmptyArchiveError
from ganray.manifest import Input, Selection, Unreadable, list_images, probe_all
from ganray.models.checkpoint import is_catalog_name
from ganray.registry import is_reference, locate, parse_reference, read_version, version_uri
from ganray.sample import write_sample
from ganray.storage import PREFLIGHT, Store, open_store

SAMPLE = "sample:"


def resolve_archive(uri: str) -> str:
    """The absolute URI of an archive; `sample:` and its parts are written to a folder first.

    Absolute, because a worker's current folder and that of a later audit are others.
    """
    if not uri.startswith(SAMPLE):
        return absolute_uri(uri)
    folder = Path(tempfile.gettempdir()) / f"ganray-sample-{__version__}-{getpass.getuser()}"
    write_sample(folder)
    return absolute_uri(str(folder / uri.removeprefix(SAMPLE)))


def absolute_uri(uri: str) -> str:
    """A URI that means the same from every current folder; links and `..` are resolved."""
    return uri if uri.startswith("s3://") else os.path.realpath(open_store(uri).uri)


def absolute_generator(generator: str, registry: str = "") -> str:
    """The same for a generator: a file becomes absolute, a catalog name stays as it is.

    `registry:NAME` becomes the file of the version that is current now, once it is found to be
    whole: whatever is promoted later, a run keeps to it. Without `registry` it is looked up in
    the environment's. Raises RegistryError or ConfigError.
    """
    if is_reference(generator):
        where = absolute_uri(registry or default_registry())
        store, version = locate(where, parse_reference(generator))
        read_version(store, version)
        return version_uri(store, version)
    return generator if is_catalog_name(generator) else absolute_uri(generator)


def open_archive(uri: str) -> Store:
    """Open an archive after a first request, so that a wrong name or key fails at once."""
    next(iter(open_store(uri, retry=PREFLIGHT).list()), None)
    return open_store(uri)


def require_apart(source: str, target: str, *, names: tuple[str, str]) -> None:
    """Raise ConfigError if what is written would stand among what is read; both are absolute."""
    first, second = (uri.rstrip("/") + "/" for uri in (source, target))
    if first.startswith(second) or second.startswith(first):
        read, written = names
        raise ConfigError(
            f"{written} {target} and {read} {source} are the same or one lies inside the other; "
            f"choose another {written}, apart from the {read}"
        )


def require_unread(output: str, inputs: Iterable[str]) -> None:
    """Raise ConfigError if a page would replace one of the files that it is made of."""
    written = absolute_uri(output)
    for uri in inputs:
        if absolute_uri(uri) == written:
            raise ConfigError(
                f"the page {output} would replace {uri}, which it is made of; name another page to "
                "write, as page.html"
            )


@dataclass(frozen=True)
class Refused:
    """An image of an archive that a job cannot use, and why. `is_small` says that it is sound."""

    key: str
    reason: str
    is_small: bool = False


def split_readable(
    uri: str, selection: Selection, *, smallest_side: int = 1, codecs: Codecs | None = None
) -> tuple[list[Input], list[Refused]]:
    """The inputs that can be read and have sides of at least `smallest_side`, and the others.

    Images of all families are read as `codecs` says, or without it photographs alone. Raises
    EmptyArchiveError if none can.
    """
    store = open_archive(uri)
    found: list[Input] = []
    refused: list[Refused] = []
    for item in probe_all(store, list_images(store, selection), codecs or DEFAULTS):
        why = _refuse(item, smallest_side, only_photographs=codecs is None)
        if why is not None:
            refused.append(why)
        elif isinstance(item, Input):
            found.append(item)
    if not found:
        first = f"; {refused[0].key}: {refused[0].reason}" if refused else ""
        raise EmptyArchiveError(
            f"{uri} holds no readable image with sides of at least {smallest_side} pixels that "
            f"include and exclude select{first}. Check the URI and the globs, or ask for smaller "
            "sides"
        )
    return found, refused


def _refuse(
    item: Input | Unreadable, smallest_side: int, *, only_photographs: bool
) -> Refused | None:
    if isinstance(item, Unreadable):
        return Refused(item.info.key, str(item.error))
    if only_photographs and item.codec not in photo.SUFFIXES:
        reason = f"a {item.codec}; expected a photograph: PNG, JPEG, WebP or TIFF"
        return Refused(item.key, reason)
    if is_video(item.key):
        return Refused(item.key, "a film of many frames; extract them as PNG")
    if min(item.height, item.width) < smallest_side:
        reason = f"{item.width}x{item.height} has a side below {smallest_side} pixels"
        return Refused(item.key, reason, is_small=True)
    return None

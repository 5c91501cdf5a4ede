"""The manifest: the table of an archive's inputs, listed lazily and probed from their headers."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import BeforeValidator

from ganray.codecs.catalog import DEFAULTS, Codecs, family_of, is_image, is_tiff
from ganray.codecs.files import probe_file
from ganray.codecs.geo import describe_geo, is_geo
from ganray.codecs.video import VideoSource, probe_video
from ganray.config import Section
from ganray.errors import CodecError, MissingExtraError, StorageError, UnreachableError
from ganray.raster.image import Profile, ValueRange
from ganray.storage import ObjectInfo, Store

HEADER_BYTES = 64 * 1024
PROBE_THREADS = 16
NO_LIMIT = 2**29
"""More than any frame has; FFmpeg takes no larger number of this kind."""
RESERVED_PREFIX = "_ganray/"


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Globs = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]


class Selection(Section):
    """Which keys of an archive are inputs."""

    include: Globs = ("*",)
    """Globs of keys, relative to the archive; `*` matches any characters, slashes too."""
    exclude: Globs = ()
    """Globs of keys to leave out."""


@dataclass(frozen=True)
class Input:
    """One image file of an archive, as its header describes it."""

    key: str
    etag: str
    num_bytes: int
    codec: str
    dtype: str
    num_bands: int
    height: int
    width: int
    num_frames: int = 1
    """Of a film, as its header says, or about as many."""
    has_alpha: bool = False
    value_range: ValueRange | None = None
    """The stored values that are 0 and 1 to a generator, as in `Profile`."""

    @property
    def num_colours(self) -> int:
        """Bands besides alpha."""
        return self.num_bands - self.has_alpha

    @property
    def num_pixels(self) -> int:
        return self.num_frames * self.height * self.width


@dataclass(frozen=True)
class Unreadable:
    """An input whose header could not be read, and why."""

    info: ObjectInfo
    error: CodecError | MissingExtraError | StorageError


def list_images(store: Store, selection: Selection) -> Iterator[ObjectInfo]:
    """List the archive's image files; other files and ganray's own are passed over."""
    for info in store.list():
        if not info.key.startswith(RESERVED_PREFIX) and is_selected(info.key, selection):
            yield info


def probe_all(
    store: Store, infos: Iterator[ObjectInfo], codecs: Codecs = DEFAULTS
) -> Iterator[Input | Unreadable]:
    """Probe headers by several threads, in order, a bounded number ahead.

    Raises UnreachableError if the store is gone; an unreadable header is a value.
    """
    with ThreadPoolExecutor(PROBE_THREADS) as pool:
        ahead: list[Future[Input | Unreadable]] = []
        for info in infos:
            ahead.append(pool.submit(probe_input, store, info, codecs))
            if len(ahead) >= 4 * PROBE_THREADS:
                yield ahead.pop(0).result()
        for future in ahead:
            yield future.result()


def probe_input(store: Store, info: ObjectInfo, codecs: Codecs = DEFAULTS) -> Input | Unreadable:
    """Read one header."""
    num_frames = 1
    try:
        if family_of(info.key) == "video":
            film = probe_video(VideoSource(store, info.key), codecs.video, max_pixels=NO_LIMIT)
            profile, height, width = film.image, film.height, film.width
            num_frames = film.about_frames
        else:
            profile, height, width = _probe(store, info, codecs)
    except UnreachableError:
        raise
    except (CodecError, MissingExtraError, StorageError) as error:
        return Unreadable(info, error)
    return Input(
        key=info.key,
        etag=info.etag,
        num_bytes=info.num_bytes,
        codec=profile.codec,
        dtype=profile.dtype,
        num_bands=profile.num_bands,
        height=height,
        width=width,
        num_frames=num_frames,
        has_alpha=profile.alpha is not None,
        value_range=profile.value_range,
    )


def _probe(store: Store, info: ObjectInfo, codecs: Codecs) -> tuple[Profile, int, int]:
    """Profile, height and width, by the whole file where its first bytes do not hold the header."""
    if is_tiff(info.key) and is_geo(store, info.key):
        return describe_geo(store.uri, info.key, codecs.geo)
    head = store.read(info.key, 0, HEADER_BYTES)
    try:
        return probe_file(info.key, head, codecs)
    except CodecError:
        if info.num_bytes <= HEADER_BYTES:
            raise
        return probe_file(info.key, store.read(info.key), codecs)


def speakable(key: str) -> str:
    """A key that can be written down: what is not UTF-8 in it is escaped."""
    return key.encode(errors="backslashreplace").decode()


def is_selected(key: str, selection: Selection) -> bool:
    if not is_image(key):
        return False
    included = any(fnmatchcase(key, glob) for glob in selection.include)
    return included and not any(fnmatchcase(key, glob) for glob in selection.exclude)

"""A film in a store, opened for demuxing by ranges of bytes; the only module that imports PyAV.

What FFmpeg or PyAV raises on a damaged film becomes UndecodableError here. Only three families
of containers are opened, by their first bytes and never by guessing: among FFmpeg's demuxers
are some that open other files and addresses.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ganray.codecs.store_blocks import Readable
from ganray.codecs.video_integrity import require_whole
from ganray.errors import (
    GanrayError,
    MissingExtraError,
    TooLargeError,
    UndecodableError,
    UnsupportedImageError,
)
from ganray.storage import open_store, split_uri

BLOCK_BYTES = 4 << 20
CACHED_BLOCKS = 6
"""Audio and video lie a few blocks apart where they are not interleaved well."""
BUFFER_BYTES = 256 << 10
"""What FFmpeg asks for at once."""

LARGEST_LIMIT = 2**31 - 1
"""The most pixels that FFmpeg can be told to allow."""

ATTACHED_PICTURE = 0x400
TIMED_THUMBNAILS = 0x800


@dataclass(frozen=True)
class VideoSource:
    """A film in a store. It can be pickled; nothing is open."""

    store: Readable
    key: str


def local_source(path: str | Path) -> VideoSource:
    """A film that is a file, or an object of a URI."""
    uri, key = split_uri(str(path))
    return VideoSource(open_store(uri), key)


def require_av() -> ModuleType:
    """The module av; MissingExtraError names the extra that installs it."""
    try:
        import av
    except ImportError as error:
        raise MissingExtraError(
            f'films need PyAV ({error}): pip install "ganray[video]"'
        ) from error
    module: ModuleType = av
    return module


class RangeFile:
    """A seekable file over an object of a store, for one thread; holds a few blocks of it.

    FFmpeg takes an error of reading for the end of the file now and then, so that the first one
    is kept in `error`.
    """

    def __init__(self, source: VideoSource) -> None:
        self.error: GanrayError | None = None
        self.num_bytes = source.store.stat(source.key).num_bytes
        self._source = source
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def read(self, num_bytes: int = -1) -> bytes:
        """At most so many bytes, as files do: those that one block holds."""
        left = self.num_bytes - self._position
        wanted = left if num_bytes < 0 else min(num_bytes, left)
        if wanted <= 0:
            return b""
        number, offset = divmod(self._position, BLOCK_BYTES)
        data = self._block(number)[offset : offset + wanted]
        self._position += len(data)
        return data

    def read_at(self, position: int, num_bytes: int) -> bytes:
        """The bytes that exist of a range, wherever the file stands."""
        self.seek(position)
        parts: list[bytes] = []
        while num_bytes > 0 and (part := self.read(num_bytes)):
            parts.append(part)
            num_bytes -= len(part)
        return b"".join(parts)

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._position, self.num_bytes)[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def seekable(self) -> bool:
        return True

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        try:
            block = self._read_block(number)
        except GanrayError as error:
            self.error = self.error or error
            raise
        self._blocks[number] = block
        if len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return block

    def _read_block(self, number: int) -> bytes:
        start, end = number * BLOCK_BYTES, min(self.num_bytes, (number + 1) * BLOCK_BYTES)
        block = self._source.store.read(self._source.key, start, end)
        if len(block) != end - start:
            raise UndecodableError(
                f"the file ends before byte {end}: changed or truncated while it was read"
            )
        return block


@dataclass(frozen=True)
class Film:
    """An open film: PyAV's container and its one video stream. For one thread."""

    file: RangeFile
    container: Any
    video: Any

    @property
    def codec_name(self) -> str:
        """FFmpeg's name of the codec, whichever decoder it has."""
        return str(self.video.codec_context.codec.canonical_name)

    def demux(self, *streams: Any) -> Iterator[Any]:
        """Packets of these streams as they lie in the file, from where it stands; the demuxer
        passes over all others without reading them."""
        discard = require_av().stream.Discard
        wanted = {stream.index for stream in streams}
        for stream in self.container.streams:
            stream.discard = discard.default if stream.index in wanted else discard.all
        with translated(self.file):
            for packet in self.container.demux(*streams):
                # PyAV's last packet of each stream is empty and says that there are no more.
                if packet.size or packet.pts is not None:
                    yield packet


@contextmanager
def open_film(source: VideoSource, max_pixels: int) -> Iterator[Film]:
    """Open a film; the size of its frames is checked before one is decoded.

    Raises UndecodableError, UnsupportedImageError or TooLargeError.
    """
    require_av()
    file = RangeFile(source)
    format_name = require_whole(file.read_at, file.num_bytes)
    with _open(file, format_name, pixel_limit(max_pixels)) as container:
        video = _find_video(container)
        if video.codec_context.width:
            _require_size(video, max_pixels)
            yield Film(file, container, video)
            return
    # FFmpeg forgets a size beyond its limit.
    with _open(file, format_name, {"skip_frame": "all"}) as container:
        _require_size(_find_video(container), max_pixels)
    raise UndecodableError("the video has no size: damaged, truncated or encrypted")


def _open(file: RangeFile, format_name: str, options: dict[str, str]) -> Any:
    """A container of PyAV's. FFmpeg decodes a little to find out what a header does not say."""
    av = require_av()
    file.seek(0)
    with translated(file):
        return av.open(
            file,
            "r",
            format=format_name,
            options=options,
            # What is not UTF-8 goes out as it came in.
            metadata_errors="surrogateescape",
            buffer_size=BUFFER_BYTES,
        )


@contextmanager
def translated(file: RangeFile | None = None) -> Iterator[None]:
    """Turn what PyAV raises into ganray's errors: nearly anything, on damaged films."""
    try:
        yield
    except GanrayError:
        raise
    except MemoryError:
        raise TooLargeError(
            "a frame needs more memory than there is; lower limits.pixels"
        ) from None
    except Exception as error:
        if file is not None and file.error is not None:
            raise file.error from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UndecodableError(f"damaged or truncated film: {reason}") from error
    if file is not None and file.error is not None:
        raise file.error


def pixel_limit(max_pixels: int) -> dict[str, str]:
    """A decoder's own limit: its frames are padded, so that it is looser than ours."""
    return {"max_pixels": str(min(2 * max_pixels + 2**20, LARGEST_LIMIT))}


def _find_video(container: Any) -> Any:
    pictures = ATTACHED_PICTURE | TIMED_THUMBNAILS
    streams = [s for s in container.streams.video if not int(s.disposition) & pictures]
    if len(streams) != 1:
        kinds = ", ".join(stream.type for stream in container.streams) or "none"
        raise (UnsupportedImageError if streams else UndecodableError)(
            f"{len(streams)} video streams (streams: {kinds}); expected one"
        )
    if streams[0].codec_context is None:
        raise UnsupportedImageError("no decoder for the video's codec; expected one of FFmpeg's")
    return streams[0]


def _require_size(video: Any, max_pixels: int) -> None:
    width, height = video.codec_context.width, video.codec_context.height
    if width * height > max_pixels:
        raise TooLargeError(
            f"frames of {width}x{height} are {width * height} pixels; limits.pixels allows "
            f"{max_pixels}"
        )

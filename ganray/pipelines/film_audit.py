"""The sizes that an audit compares: of films with the number of their frames."""

from dataclasses import dataclass

from ganray.codecs.video import (
    VideoConfig,
    VideoSource,
    count_frames,
    probe_video,
    scan_segments,
)
from ganray.manifest import NO_LIMIT
from ganray.storage import Store


@dataclass(frozen=True)
class Shape:
    """The size of an image, or of a film and its frames."""

    height: int
    width: int
    num_frames: int = 1

    @property
    def num_pixels(self) -> int:
        return self.num_frames * self.height * self.width

    def scale(self, factor: int) -> "Shape":
        """The size of its restoration."""
        return Shape(self.height * factor, self.width * factor, self.num_frames)

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}"
        return size if self.num_frames == 1 else f"{self.num_frames} frames of {size}"


def output_shape(store: Store, key: str, config: VideoConfig) -> Shape:
    """The size of a restored film, all of whose packets are read. Raises CodecError."""
    source = VideoSource(store, key)
    profile = probe_video(source, config, max_pixels=NO_LIMIT)
    num_frames = count_frames(source, max_pixels=NO_LIMIT)
    return Shape(profile.height, profile.width, num_frames)


def input_shape(store: Store, key: str, config: VideoConfig) -> Shape:
    """The size of a film that was restored; frames that cannot be decoded at its beginning are
    none. Raises CodecError."""
    source = VideoSource(store, key)
    profile = probe_video(source, config, max_pixels=NO_LIMIT)
    plan = scan_segments(source, config, max_pixels=NO_LIMIT)
    return Shape(profile.height, profile.width, plan.num_frames)

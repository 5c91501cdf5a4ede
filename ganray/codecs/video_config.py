"""How films are read and written."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ganray.config import Section

SUFFIXES = {
    "mp4": (".mp4", ".m4v"),
    "mov": (".mov",),
    "matroska": (".mkv", ".webm"),
    "avi": (".avi",),
}
"""Suffixes of each container that is read."""

CONTAINERS = {"ffv1": "matroska", "prores": "mov", "h264": "mp4"}
"""The container of each codec that `auto` chooses."""

CONTAINER_SUFFIXES = {"matroska": ".mkv", "mov": ".mov", "mp4": ".mp4"}

HOLDS = {
    "matroska": ("ffv1", "prores", "h264"),
    "mov": ("prores", "h264"),
    "mp4": ("ffv1", "h264"),
}
"""The codecs that each container holds."""


class VideoConfig(Section):
    """How films are cut, and how restored films are written."""

    codec: Literal["ffv1", "prores", "h264"] = "ffv1"
    """Codec of restored films: FFV1 loses nothing; ProRes 4444 and H.264 do."""
    container: Literal["auto", "matroska", "mov", "mp4"] = "auto"
    """Container of restored films; `auto` is Matroska for FFV1, mov for ProRes, mp4 for H.264."""
    pixel_format: Literal["rgb", "same"] = "rgb"
    """Of FFV1: `rgb` keeps restored frames bit for bit, `same` converts them back to the input's
    pixel format, YUV for most. ProRes and H.264 are YUV always."""
    crf: Annotated[int, Field(ge=0, le=51)] = 16
    """Of H.264: constant rate factor, 0-51; lower is better and larger."""
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow", "veryslow"] = "medium"
    """Of H.264: slower is smaller."""
    slices: Literal[4, 9, 16, 24] = 4
    """Of FFV1: independent parts of a frame, each with a checksum."""
    segment_frames: Annotated[int, Field(gt=0)] = 64
    """Frames that a film is cut into for its workers, at least: cuts are where key frames are."""
    interlaced: Literal["refuse", "as_frames"] = "refuse"
    """Of interlaced films, whose frames mix two moments: `as_frames` restores them as they are."""
    threads: Annotated[int, Field(gt=0)] = 1
    """Threads of one decoder and of one encoder; the outputs do not depend on them."""

    @model_validator(mode="after")
    def _container_holds_codec(self) -> "VideoConfig":
        if self.codec not in HOLDS[self.output_container]:
            holders = ", ".join(name for name, codecs in HOLDS.items() if self.codec in codecs)
            raise ValueError(
                f"{self.output_container} does not hold {self.codec}; choose the container auto "
                f"or one of {holders}"
            )
        return self

    @property
    def output_container(self) -> str:
        return CONTAINERS[self.codec] if self.container == "auto" else self.container


def output_suffix(config: VideoConfig) -> str:
    """Suffix of every restored film, with its dot: it follows from the configuration alone."""
    return CONTAINER_SUFFIXES[config.output_container]

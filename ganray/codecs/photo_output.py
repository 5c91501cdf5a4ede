"""How photographs are written: the section `output` of a job's configuration."""

from typing import Annotated, Literal

from pydantic import Field

from ganray.config import Section


class OutputConfig(Section):
    """How restored images are written."""

    format: Literal["same", "png", "jpeg", "webp", "tiff"] = "same"
    """File format of the outputs; `same` keeps each input's own."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Quality of lossy JPEG and WebP, 1-100; JPEG is written without chroma subsampling."""
    png_level: Annotated[int, Field(ge=0, le=9)] = 1
    """zlib level of PNG, 0-9: 1 is several times faster than Pillow's default for a few percent."""
    tiff_compression: Literal["deflate", "zstd", "none"] = "deflate"
    """Of TIFF: every reader knows deflate; zstd is several times faster and somewhat smaller."""

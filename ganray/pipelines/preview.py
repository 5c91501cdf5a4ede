"""The preview job: what a recipe does to an archive, as a sheet to look at before training.

A row is an image: the reference, then several draws of its degradation, magnified by repetition
of pixels to the size of the reference. What a mask calls lost is outlined.
"""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field, field_validator
from torch import Tensor

from ganray.codecs.catalog import Codecs
from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.geo_config import GeoConfig
from ganray.degradation.recipe import Degraded, Recipe, RecipeField, degrade
from ganray.errors import CodecError, ConfigError, EmptyArchiveError
from ganray.manifest import Selection
from ganray.pipelines.archives import absolute_uri, resolve_archive, split_readable
from ganray.raster.image import from_float
from ganray.storage import Store, open_store, split_uri
from ganray.training.references import read_reference

logger = logging.getLogger(__name__)

MARGIN = 6
LABEL_HEIGHT = 22
FONT_PIXELS = 14
LONGEST_LABEL = 40
LOST_COLOUR = (1.0, 0.1, 0.3)
Row = tuple[str, Tensor, Degraded]


class PreviewConfig(Selection):
    """The preview job: by default what `photo` does to the sample's training images."""

    archive: str = "sample:training"
    """URI or folder of references."""
    degradation: RecipeField = Field(default="photo", validate_default=True)
    """Recipe: bicubic, photo-mild, photo, satellite, film, inpaint, surveillance, ct;
    or a YAML file, or its steps."""
    scale: Annotated[int, Field(ge=1, le=8)] = 2
    """Factor by which the degraded images are smaller."""
    bands: Annotated[int, Field(ge=1)] = 3
    """Bands of the references: those that the generator is to take; of more than three, three
    are shown."""
    images: Annotated[int, Field(ge=1, le=50)] = 4
    """Images of the archive, evenly spread: the rows of the sheet."""
    draws: Annotated[int, Field(ge=1, le=20)] = 4
    """Degradations of each: the columns beside the reference."""
    side: Annotated[int, Field(ge=16, le=2048)] = 256
    """Side of the square that is cut from the middle of an image, in pixels of the reference."""
    outline: bool = True
    """Whether what the mask calls lost is outlined."""
    geo: GeoConfig = GeoConfig()
    film: FilmConfig = FilmConfig()
    dicom: DicomConfig = DicomConfig()
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the degradation."""
    output: str = "ganray-output/preview.png"
    """URI or path of the sheet, a PNG."""

    @field_validator("output")
    @classmethod
    def _is_png(cls, output: str) -> str:
        if not output.lower().endswith(".png"):
            raise ValueError(f"{output} is no name of a PNG, which the sheet is; end it in .png")
        return output

    @property
    def codecs(self) -> Codecs:
        return Codecs(geo=self.geo, film=self.film, dicom=self.dicom)


@dataclass(frozen=True)
class PreviewResult:
    """Where the sheet stands, and the keys of its rows."""

    output: str
    keys: tuple[str, ...]


def run_preview(config: PreviewConfig) -> PreviewResult:
    """Write the sheet. Raises GanrayError."""
    config.degradation.require_fit(scale=config.scale, bands=config.bands)
    folder, name = split_uri(config.output)
    archive = resolve_archive(config.archive)
    if (absolute_uri(folder) + "/").startswith(archive.rstrip("/") + "/"):
        raise ConfigError(
            f"the sheet {config.output} would stand in the archive {archive}, as one of its "
            "images; choose another output"
        )
    smallest = max(config.scale, 16)
    inputs, refused = split_readable(archive, config, smallest_side=smallest, codecs=config.codecs)
    for item in refused:
        logger.warning("skipped key=%s reason=%s", item.key, item.reason)
    found = [item.key for item in inputs]
    chosen = np.linspace(0, len(found) - 1, min(config.images, len(found))).round().astype(int)
    rows = _degrade_all(open_store(archive), [found[i] for i in chosen], config)
    sheet = draw_sheet(rows, config.degradation, config)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    open_store(folder).write(name, buffer.getvalue())
    return PreviewResult(config.output, tuple(key for key, _, _ in rows))


def _degrade_all(store: Store, keys: Sequence[str], config: PreviewConfig) -> list[Row]:
    rows = []
    for number, key in enumerate(keys):
        try:
            reference = _middle(read_reference(store, key, config.bands, config.codecs), config)
        except CodecError as error:
            logger.warning("skipped key=%s reason=%s", key, error)
            continue
        # Numbers far from each other: consecutive ones share the sizes of random rescaling.
        seeds = [(config.seed, 1000 * (number * config.draws + i)) for i in range(config.draws)]
        copies = reference.expand(config.draws, -1, -1, -1)
        rows.append((key, reference, degrade(copies, config.degradation,
                                             scale=config.scale, seeds=seeds)))  # fmt: skip
    if not rows:
        raise EmptyArchiveError(f"no image of {config.archive} can be decoded; see the warnings")
    return rows


def _middle(reference: NDArray[np.float32], config: PreviewConfig) -> Tensor:
    """The middle of an image, with sides that the scale divides, (C,h,w)."""
    height, width = (
        min(length, config.side) // config.scale * config.scale for length in reference.shape[1:]
    )
    top, left = (reference.shape[1] - height) // 2, (reference.shape[2] - width) // 2
    cut = reference[:, top : top + height, left : left + width]
    return torch.from_numpy(np.ascontiguousarray(cut))


def draw_sheet(rows: Sequence[Row], recipe: Recipe, config: PreviewConfig) -> Image.Image:
    """All rows below each other, with labels."""
    step = config.side + MARGIN
    row_height = config.side + LABEL_HEIGHT
    width = MARGIN + (1 + config.draws) * step
    sheet = Image.new("RGB", (width, LABEL_HEIGHT + len(rows) * row_height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_PIXELS)
    title = f"degradation {recipe.name}, x{config.scale}, seed {config.seed}"
    draw.text((MARGIN, 4), title, "black", font)
    for number, (key, reference, degraded) in enumerate(rows):
        top = LABEL_HEIGHT + number * row_height
        label = key if len(key) <= LONGEST_LABEL else f"…{key[1 - LONGEST_LABEL :]}"
        draw.text((MARGIN, top + 4), label, "black", font)
        shown = [_picture(reference), *_magnified(degraded, config)]
        for column, picture in enumerate(shown):
            sheet.paste(picture, (MARGIN + column * step, top + LABEL_HEIGHT))
    return sheet


def _magnified(degraded: Degraded, config: PreviewConfig) -> list[Image.Image]:
    pixels = _in_colour(degraded.pixels)
    pixels = F.interpolate(pixels, scale_factor=float(config.scale), mode="nearest")
    if degraded.mask is not None and config.outline:
        mask = F.interpolate(degraded.mask, scale_factor=float(config.scale), mode="nearest")
        around = F.max_pool2d(mask, 3, stride=1, padding=1) - mask
        pixels = torch.lerp(pixels, torch.tensor(LOST_COLOUR).view(1, 3, 1, 1), around)
    return [_picture(image) for image in pixels]


def _in_colour(pixels_BCHW: Tensor) -> Tensor:
    """Three bands to show: of gray the one, of two the first."""
    bands = pixels_BCHW.shape[1]
    return pixels_BCHW[:, :3] if bands >= 3 else pixels_BCHW[:, :1].expand(-1, 3, -1, -1)


def _picture(pixels_CHW: Tensor) -> Image.Image:
    stored = from_float(_in_colour(pixels_CHW[None])[0].numpy(), "uint8")
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(stored, 0, -1)))

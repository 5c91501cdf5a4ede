"""The explain command: where a generator invents, as maps over one restored image.

Without a reference it tells what the input does not say; with a training's discriminator what
looked made up to it; with a reference what is wrong.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from ganray.codecs.catalog import Codecs
from ganray.codecs.dicom_profile import DicomConfig
from ganray.codecs.film import FilmConfig
from ganray.codecs.geo_config import GeoConfig
from ganray.config import Section as ConfigSection
from ganray.config import default_registry
from ganray.errors import ConfigError
from ganray.pipelines.archives import absolute_generator, require_unread
from ganray.pipelines.discriminator_view import judge, load_discriminator
from ganray.pipelines.overlays import draw_divided, draw_heat
from ganray.pipelines.picture_files import picture_of, read_pixels, short_name
from ganray.raster.image import FloatPixels
from ganray.raster.resample import magnify
from ganray.report.encoding import Picture
from ganray.report.page import Figure, Page, Section, render_page
from ganray.report.parts import Facts
from ganray.report.pictures import StripText, make_strip, most_changed, spot_share, whole_views
from ganray.restoration import Restorer
from ganray.restoration.invention import find_invention
from ganray.storage import write_uri
from ganray.training.artifacts import artifact_map

MOST_PIXELS = 2**24
MOST_BYTES = 12 * 2**20
STRONG = 8 / 255
"""Detail of so much is seen at a glance."""
SHARE_MEANING = (
    f"the strong share is that of pixels beyond {255 * STRONG:g}/255, which is seen at a glance"
)
Values = NDArray[np.float32]


class ExplainConfig(ConfigSection):
    """Where a generator invents: one image, restored, with maps over it."""

    image: str = ""
    """File or URI of the image to restore; the first word of the command line."""
    generator: str = "compact-x2"
    """File, URI or catalog name of the generator, or `registry:NAME`."""
    registry: str = Field(default_factory=default_registry)
    """URI or folder of the registry that `registry:NAME` is looked up in; by default what
    GANRAY_REGISTRY names."""
    discriminator: str = ""
    """Output of the training whose discriminator judges, or one of its states (.pt); empty for
    none."""
    reference: str = ""
    """File or URI of the image as it should be, scale times as large; empty for none."""
    geo: GeoConfig = GeoConfig()
    film: FilmConfig = FilmConfig()
    dicom: DicomConfig = DicomConfig()
    output: str = "explained.html"
    """URI or path of the page."""

    @property
    def codecs(self) -> Codecs:
        return Codecs(geo=self.geo, film=self.film, dicom=self.dicom)


@dataclass(frozen=True)
class Explanation:
    """The figures by name, what they mean, and where the page stands."""

    figures: dict[str, float]
    meanings: dict[str, str]
    output: str


@dataclass(frozen=True)
class _Case:
    """An image with what became of it, all (C,H,W) in 0-1; `magnified` is by bicubic."""

    degraded: FloatPixels
    magnified: FloatPixels
    restored: FloatPixels
    reference: FloatPixels | None


@dataclass(frozen=True)
class _Layer:
    """One map: its picture, its figures, and what both mean."""

    name: str
    picture: Picture
    figures: dict[str, float]
    meaning: str


def explain_image(config: ExplainConfig) -> Explanation:
    """Restore, map, write the page. Raises GanrayError."""
    if not config.image:
        raise ConfigError("no image is given; write ganray explain IMAGE")
    generator = absolute_generator(config.generator, config.registry)
    files = config.image, config.reference, config.discriminator
    require_unread(config.output, (*filter(None, files), generator))
    case = _restore(config, generator)
    # What is at the ends is what the page shows first.
    layers = [*_discriminated(case, config), *_artifacts(case), *_invention(case)]
    figures = {name: value for layer in layers for name, value in layer.figures.items()}
    meanings = {layer.name: layer.meaning for layer in layers}
    write_uri(config.output, _page(config, case, layers).encode())
    return Explanation(figures, meanings, config.output)


def _restore(config: ExplainConfig, generator: str) -> _Case:
    restorer = Restorer.load(generator)
    bands, scale = restorer.checkpoint.bands, restorer.scale
    degraded = read_pixels(config.image, bands, config.codecs)
    _, height, width = (degraded.shape[0], *(scale * side for side in degraded.shape[1:]))
    if height * width > MOST_PIXELS:
        raise ConfigError(
            f"{config.image} would be restored to {width}x{height} pixels; expected at most "
            f"{MOST_PIXELS}: cut out the part to look at"
        )
    restored = np.clip(restorer.restore(degraded), 0, 1).astype(np.float32)
    reference = None
    if config.reference:
        reference = read_pixels(config.reference, bands, config.codecs)
        if reference.shape != restored.shape:
            raise ConfigError(
                f"{config.reference} has {reference.shape[2]}x{reference.shape[1]} pixels; "
                f"expected {width}x{height}, {scale} times those of {config.image}"
            )
    magnified = magnify(degraded, height, width)
    return _Case(degraded, magnified, restored, reference)


def _invention(case: _Case) -> list[_Layer]:
    maps = find_invention(case.degraded, case.restored)
    invented = _Layer(
        "invented",
        draw_heat(case.restored, maps.invented),
        _summary("invented", maps.invented),
        "detail beyond bicubic that the input neither proves nor denies: it vanishes when the "
        "restoration is brought back to the input's size. Full colour is a tenth of the range; "
        f"{SHARE_MEANING}",
    )
    denied = _Layer(
        "denied",
        draw_heat(case.restored, maps.denied),
        _summary("denied", maps.denied),
        "what departs from the input once brought back to its size. Full colour is a tenth of "
        f"the range; {SHARE_MEANING}",
    )
    return [denied, invented]


def _summary(name: str, values: Values) -> dict[str, float]:
    return {
        f"{name}_mean": float(values.mean()),
        f"{name}_strong_share": float((values > STRONG).mean()),
    }


def _artifacts(case: _Case) -> list[_Layer]:
    """LDL's map, with bicubic in the place of the moving average."""
    if case.reference is None:
        return []
    images = (case.restored, case.reference, case.magnified)
    with torch.inference_mode():
        tensors = [torch.from_numpy(np.ascontiguousarray(image))[None] for image in images]
        found = artifact_map(*tensors)[0, 0].numpy()
    top = float(np.quantile(found, 0.995)) or 1.0
    meaning = (
        "LDL's artifact map (Liang et al. 2022): local variance of the error, 0 where the "
        f"restoration is closer to the reference than bicubic. Full colour is {top:.3g}"
    )
    picture = draw_heat(case.restored, found, full=top)
    return [_Layer("artifacts", picture, {"artifacts_mean": float(found.mean())}, meaning)]


def _discriminated(case: _Case, config: ExplainConfig) -> list[_Layer]:
    if not config.discriminator:
        return []
    found = load_discriminator(config.discriminator, case.restored.shape[0])
    logits = judge(found, case.restored)
    figures = {"discriminator_mean": float(logits.mean())}
    middle, of = float(np.median(logits)), "the median of this image"
    if case.reference is not None:
        middle, of = float(judge(found, case.reference).mean()), "the mean of the reference"
        figures["discriminator_of_reference"] = middle
    apart = logits - middle
    span = float(np.quantile(np.abs(apart), 0.99)) or 1.0
    meaning = (
        f"the logits of {found.source}: red looked less real than {of}, blue more. Full colour is "
        f"{span:.3g} apart; only differences mean anything"
    )
    return [_Layer("discriminator", draw_divided(case.restored, apart / span), figures, meaning)]


def _page(config: ExplainConfig, case: _Case, layers: list[_Layer]) -> str:
    pictures = [("restored", picture_of(case.restored)), ("bicubic", picture_of(case.magnified))]
    if case.reference is not None:
        pictures.append(("reference", picture_of(case.reference)))
    pictures += [(layer.name, layer.picture) for layer in layers]
    height, width = pictures[0][1].shape[:2]
    spot = most_changed(pictures[1][1], pictures[0][1], spot_share(width, height))
    name = PurePosixPath(config.image).name
    views = whole_views(pictures, [spot])
    strip = make_strip(StripText(name), views, (width, height), [spot], max_bytes=MOST_BYTES)
    page = Page(
        kind="explanation",
        title=name,
        subtitle=f"restored by {short_name(config.generator)}",
        figures=tuple(
            Figure(f"{value:.3g}", figure.replace("_", " "))
            for layer in layers
            for figure, value in layer.figures.items()
        ),
        sections=(
            Section("Where it invents", (strip,), "Choose a map left or right; click for 1:1."),
            Section("What the maps mean", (Facts(tuple((m.name, m.meaning) for m in layers)),)),
        ),
    )
    return render_page(page)

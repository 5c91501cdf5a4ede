"""Pictures of a training, as strips of its report; they are read from its output."""

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from ganray.errors import NotFoundError
from ganray.manifest import speakable
from ganray.pipelines.train_config import TrainPlan
from ganray.pipelines.train_pictures import (
    DEGRADED,
    PATCHES,
    REFERENCE,
    Watched,
    step_key,
    watched_images,
)
from ganray.report.encoding import Picture
from ganray.report.pictures import Strip, StripText, View, make_strip, whole_views
from ganray.storage import Store
from ganray.training.config import StagesConfig

STRIP_BYTES = 2 << 20
SHEET_PIXELS = 1040
"""Width that a sheet of patches is magnified to at most, by repetition of pixels."""
MOST_MAGNIFIED = 4


def image_strips(store: Store, plan: TrainPlan) -> tuple[Strip, ...]:
    """A strip of each watched image that there are pictures of."""
    strips = (_image_strip(store, plan.config.stages, image) for image in watched_images(plan))
    return tuple(strip for strip in strips if strip is not None)


def _image_strip(store: Store, stages: StagesConfig, image: Watched) -> Strip | None:
    steps = _stored_steps(store, image.folder)
    if not steps:
        return None
    views = [View("Degraded", _read(store, f"{image.folder}{DEGRADED}.png"))]
    for step in chosen_steps(steps, stages):
        name = f"Step {step:,}" if step else "Start"
        views.append(View(name, _read(store, step_key(image.folder, step))))
    reference = _read(store, f"{image.folder}{REFERENCE}.png")
    views.append(View("Reference", reference))
    height, width = reference.shape[:2]
    text = StripText(speakable(image.key), (f"a part of {width} × {height} pixels",))
    strip = make_strip(text, views, (width, height), (), max_bytes=STRIP_BYTES)
    return replace(strip, right=len(views) - 2)


def chosen_steps(steps: list[int], stages: StagesConfig) -> list[int]:
    """The first, one between, and the last of sorted steps: if there is one, fidelity's end."""
    first, last = steps[0], steps[-1]
    end = stages.fidelity.steps
    wanted = end if first < end < last else (first + last) / 2
    middle = min(steps[1:-1], key=lambda step: abs(step - wanted), default=last)
    return sorted({first, middle, last})


def _stored_steps(store: Store, folder: str) -> list[int]:
    try:
        names = [info.key.rpartition("/")[2] for info in store.list(folder)]
    except NotFoundError:
        return []
    steps = [name.removesuffix(".png")[5:] for name in names if name.startswith("step-")]
    return sorted(int(step) for step in steps)


def data_strip(store: Store, plan: TrainPlan) -> Strip | None:
    """The patches of the first step, degraded and as references; None where they are not kept."""
    try:
        sheets = list(_sheets(store))
    except NotFoundError:
        return None
    recipe = plan.samples.recipe
    title = f"Degradation {recipe.name}, ×{plan.samples.scale}" if recipe else "Pairs as given"
    height, width = sheets[0][1].shape[:2]
    return make_strip(
        StripText(title), whole_views(sheets, ()), (width, height), (), max_bytes=STRIP_BYTES
    )


def _sheets(store: Store) -> Iterator[tuple[str, Picture]]:
    for name, key in (("Degraded", DEGRADED), ("Reference", REFERENCE)):
        sheet = _read(store, f"{PATCHES}{key}.png")
        factor = min(MOST_MAGNIFIED, max(1, SHEET_PIXELS // sheet.shape[1]))
        yield name, sheet.repeat(factor, 0).repeat(factor, 1)


def _read(store: Store, key: str) -> Picture:
    return np.asarray(Image.open(io.BytesIO(store.read(key))))

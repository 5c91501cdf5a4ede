"""The before/after picture of the demo: the same spots, bicubic on the left, restored right."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganray.storage import open_store

SIDE = 300
ZOOM = 2
MARGIN = 6
LABEL_HEIGHT = 26


@dataclass(frozen=True)
class Spot:
    """A square of an input worth looking at: its key and its top left corner."""

    key: str
    left: int
    top: int


SPOTS = (
    Spot("held-out/animals/chelsea.png", 130, 60),
    Spot("held-out/objects/coffee.webp", 190, 120),
    Spot("held-out/space/rocket.jpg", 250, 30),
)


def write_before_after(path: Path, source: str, target: str) -> Path:
    """One row per spot: input magnified by bicubic, and the restored image, same zoom."""
    before, after = open_store(source), open_store(target)
    side = SIDE * ZOOM // 2
    width = 2 * side * ZOOM // 2 + 3 * MARGIN
    sheet = Image.new("RGB", (width, LABEL_HEIGHT + len(SPOTS) * (side + MARGIN)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for column, label in enumerate(("input, bicubic", "restored")):
        draw.text((MARGIN + column * (side + MARGIN) + 4, 4), label, "black", font)
    for row, spot in enumerate(SPOTS):
        degraded = Image.open(io.BytesIO(before.read(spot.key))).convert("RGB")
        restored = Image.open(io.BytesIO(after.read(spot.key))).convert("RGB")
        scale = restored.width // degraded.width
        box = np.array((spot.left, spot.top, spot.left + side // 4, spot.top + side // 4))
        crops = (degraded.crop(tuple(box)), restored.crop(tuple(box * scale)))
        for column, crop in enumerate(crops):
            magnified = crop.resize((side, side), Image.Resampling.BICUBIC)
            place = (MARGIN + column * (side + MARGIN), LABEL_HEIGHT + row * (side + MARGIN))
            sheet.paste(magnified, place)
    sheet.save(path)
    return path

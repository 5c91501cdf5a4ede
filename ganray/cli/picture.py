"""The before/after picture of the demo: the same spots, the input above, restored below."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ganray.storage import Store, open_store

SPOT_PIXELS = 80
SHOWN_PIXELS = 320
MARGIN = 6
LABEL_HEIGHT = 26
LABELS = ("input, magnified by bicubic", "restored")


@dataclass(frozen=True)
class Spot:
    """A square of an input worth looking at: its key and its top left corner."""

    key: str
    left: int
    top: int


SPOTS = (
    Spot("held-out/animals/chelsea.png", 225, 80),
    Spot("held-out/objects/coffee.webp", 330, 150),
    Spot("held-out/text/page.png", 60, 20),
)


def write_before_after(path: Path, source: str, target: str) -> Path:
    """Write the sheet for restorations of the sample archive from `source` to `target`."""
    archives = open_store(source), open_store(target)
    step = SHOWN_PIXELS + MARGIN
    row_height = LABEL_HEIGHT + SHOWN_PIXELS
    sheet = Image.new("RGB", (MARGIN + len(SPOTS) * step, 2 * row_height + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (archive, label) in enumerate(zip(archives, LABELS, strict=True)):
        top = row * row_height
        draw.text((MARGIN, top + 4), label, "black", ImageFont.load_default(16))
        for column, spot in enumerate(SPOTS):
            shown = _cut(archive, spot, magnification=1 + row)
            sheet.paste(shown, (MARGIN + column * step, top + LABEL_HEIGHT))
    sheet.save(path, quality=95)
    return path


def _cut(archive: Store, spot: Spot, *, magnification: int) -> Image.Image:
    """A spot of one image, `magnification` times the input's size, at the size shown."""
    picture = Image.open(io.BytesIO(archive.read(spot.key))).convert("RGB")
    left, top = spot.left * magnification, spot.top * magnification
    side = SPOT_PIXELS * magnification
    cut = picture.crop((left, top, left + side, top + side))
    return cut.resize((SHOWN_PIXELS, SHOWN_PIXELS), Image.Resampling.BICUBIC)

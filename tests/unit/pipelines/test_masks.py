import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from ganray.codecs.geo_config import GeoConfig
from ganray.errors import (
    CodecError,
    TooLargeError,
    UndecodableError,
    UnreachableError,
    UnsupportedImageError,
)
from ganray.pipelines import masks
from ganray.pipelines.mask_reader import MaskReader, lost_pixels
from ganray.pipelines.masks import mask_key, with_masks
from ganray.pipelines.restore_config import LimitsConfig, RestoreConfig
from ganray.pipelines.scenes import apply
from ganray.raster.validity import Mask
from ganray.raster.windows import Box
from ganray.storage import ObjectInfo, open_store
from tests.unit.codecs.geo_files import geotiff

HEIGHT, WIDTH = 37, 53
LOST = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.3
GRAY = np.where(LOST, 255, 0).astype(np.uint8)


def reader(folder: Path, *, pixels: int = 2**20) -> MaskReader:
    three = GeoConfig(values="fixed", low=(0, 0, 0), high=(1, 2, 3), bands=(1, 2, 3))
    config = RestoreConfig(masks=str(folder), limits=LimitsConfig(pixels=pixels), geo=three)
    return MaskReader(config, apply, isolated=False)


def read(folder: Path, key: str = "a.png") -> Mask:
    return reader(folder).whole(key, HEIGHT, WIDTH)


def save(folder: Path, picture: Image.Image, name: str = "a.png", **options: object) -> None:
    picture.save(folder / name, **options)


def palette() -> Image.Image:
    picture = Image.fromarray(LOST.astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 255, 255, 255])
    return picture


def opaque() -> Image.Image:
    return Image.fromarray(np.dstack([GRAY] * 3 + [np.full_like(GRAY, 255)]))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("a.jpg", "a.png"),
        ("roll 1/b.2.JPEG", "roll 1/b.2.png"),
        ("c.png", "c.png"),
        ("shot.0001.dpx", "shot.0001.png"),
        ("d.tif", "d.tif"),
        ("e/f.TIFF", "e/f.TIFF"),
    ],
)
def test_a_mask_has_its_images_key_and_the_extension_png_unless_it_is_a_tiff(
    key: str, expected: str
) -> None:
    assert mask_key(key) == expected


def test_a_new_changed_or_removed_mask_is_another_version_of_its_input(tmp_path: Path) -> None:
    infos = [ObjectInfo(f"{number:03d}.jpg", 1, "e") for number in range(100)]
    assert list(with_masks(infos, "")) == infos
    store = open_store(str(tmp_path))
    versions = []
    for content in (b"", b"mask", b"another"):
        store.write("050.png", content) if content else None
        found = list(with_masks(infos, store.uri))
        assert [info.key for info in found] == [info.key for info in infos]
        assert found[0].etag == "e+none"
        versions.append(found[50].etag)
    assert len(set(versions)) == 3
    assert versions[0] == "e+none"


def test_masks_of_a_store_that_is_gone_are_not_taken_for_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        def stat(self, key: str) -> ObjectInfo:
            raise UnreachableError("no answer")

    monkeypatch.setattr(masks, "open_store", lambda uri: Gone())
    with pytest.raises(UnreachableError):
        list(with_masks([ObjectInfo("a.png", 1, "e")], str(tmp_path)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Image.fromarray(GRAY),
        lambda: Image.fromarray(GRAY // 255),
        lambda: Image.fromarray(LOST),
        lambda: Image.fromarray(GRAY.astype(np.uint16) * 257),
        lambda: Image.fromarray(np.dstack([GRAY] * 3)),
        palette,
        opaque,
    ],
    ids=["gray", "ones", "1 bit", "16 bits", "rgb", "palette", "opaque"],
)
def test_what_is_not_0_is_lost_however_it_is_stored(
    tmp_path: Path, make: Callable[[], Image.Image]
) -> None:
    save(tmp_path, make())
    assert np.array_equal(read(tmp_path), LOST)


@pytest.mark.parametrize("settings", [{}, {"tile": (16, 16), "compression": "deflate"}])
def test_the_mask_of_a_tiff_is_read_by_windows(tmp_path: Path, settings: dict[str, object]) -> None:
    tifffile.imwrite(tmp_path / "tiled.tif", GRAY, **settings)
    (tmp_path / "geo.tif").write_bytes(geotiff(GRAY[None]))
    save(tmp_path, Image.fromarray(LOST), "bits.tif")
    save(tmp_path, Image.fromarray(GRAY), "picture.png")
    for key in ("tiled.tif", "geo.tif", "bits.tif", "picture.jpg"):
        assert np.array_equal(read(tmp_path, key), LOST), key
        found = reader(tmp_path).window(key, (HEIGHT, WIDTH), Box(3, 20, 30, 53))
        assert np.array_equal(found, LOST[3:30, 20:53]), key


def test_a_window_of_another_image_has_the_mask_of_that_one(tmp_path: Path) -> None:
    save(tmp_path, Image.fromarray(GRAY), "a.png")
    save(tmp_path, Image.fromarray(255 - GRAY), "b.png")
    found_by = reader(tmp_path)
    for key, expected in (("a.jpg", LOST), ("b.jpg", ~LOST), ("a.jpg", LOST)):
        found = found_by.window(key, (HEIGHT, WIDTH), Box(0, 0, 9, 9))
        assert np.array_equal(found, expected[:9, :9])
    save(tmp_path, Image.fromarray(GRAY[1:]), "c.png")
    with pytest.raises(UnsupportedImageError, match=r"its mask c\.png: 53x36"):
        found_by.window("c.jpg", (HEIGHT, WIDTH), Box(0, 0, 9, 9))


def test_a_mask_that_says_two_things_is_refused() -> None:
    colours = np.stack([GRAY, GRAY, np.zeros_like(GRAY)])
    with pytest.raises(UnsupportedImageError, match="of colours; expected gray"):
        lost_pixels(colours, None)
    with pytest.raises(UnsupportedImageError, match="transparent in places; expected gray"):
        lost_pixels(np.stack([GRAY, GRAY]), 1)
    with pytest.raises(UnsupportedImageError, match="of floats; expected gray"):
        lost_pixels(GRAY[None].astype(np.float32), None)


def test_a_mask_that_is_missing_of_other_sides_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedImageError, match=r"its mask a\.png: missing in .*; put it there"
    ):
        read(tmp_path)
    save(tmp_path, Image.fromarray(GRAY[1:]))
    with pytest.raises(UnsupportedImageError, match=r"its mask a\.png: 53x36; expected 53x37"):
        read(tmp_path)
    with pytest.raises(UnsupportedImageError, match=r"its mask a\.png: 53x36; expected 53x37"):
        reader(tmp_path).window("a.png", (HEIGHT, WIDTH), Box(0, 0, 1, 1))
    save(tmp_path, Image.fromarray(GRAY), format="JPEG")
    with pytest.raises(UnsupportedImageError, match=r"its mask a\.png: lossily compressed"):
        read(tmp_path)
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue()[:200])
    with pytest.raises(UndecodableError, match=r"its mask a\.png: "):
        read(tmp_path)


def test_limits_hold_for_masks_too(tmp_path: Path) -> None:
    save(tmp_path, Image.fromarray(GRAY))
    with pytest.raises(TooLargeError, match=r"its mask a\.png: .*limits\.pixels"):
        reader(tmp_path, pixels=1000).whole("a.png", HEIGHT, WIDTH)


def test_what_a_codec_says_of_a_mask_keeps_its_kind(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(CodecError, match=r"its mask a\.png: the file is empty") as caught:
        read(tmp_path)
    assert caught.type is UndecodableError

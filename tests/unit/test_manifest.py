import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from ganray.errors import NotFoundError, UndecodableError, UnreachableError, UnsupportedImageError
from ganray.manifest import (
    HEADER_BYTES,
    PROBE_THREADS,
    Input,
    Selection,
    Unreadable,
    list_images,
    probe_all,
    probe_input,
)
from ganray.storage import ObjectInfo, Store, open_store

KEYS = (
    "Z.png",
    "_ganray/report.png",
    "_ganray/staging/part.png",
    "a/1.JPG",
    "a/2.tif",
    "a/deep/3.webp",
    "a/notes.txt",
    "b/4.dcm",
    "c/_ganray/5.png",
)


class ReadLog:
    """A store that remembers what was read of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.uri = store.uri
        self.stat = store.stat
        self.ranges: list[tuple[str, int, int | None]] = []

    def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        self.ranges.append((key, start, end))
        return self.store.read(key, start, end)


def encode(codec: str, height: int = 5, width: int = 7, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, format=codec.upper(), **options)
    return buffer.getvalue()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


@pytest.fixture
def archive(store: Store) -> Store:
    for key in KEYS:
        store.write(key, encode("png"))
    return store


@pytest.fixture
def probe(store: Store) -> Callable[[str, bytes], Input | Unreadable]:
    return lambda key, data: probe_input(store, store.write(key, data))


def listed(store: Store, **selection: object) -> list[str]:
    return [info.key for info in list_images(store, Selection(**selection))]


def test_images_are_listed_in_key_order_and_ganrays_own_are_passed_over(archive: Store) -> None:
    assert listed(archive) == [
        *("Z.png", "a/1.JPG", "a/2.tif", "a/deep/3.webp", "b/4.dcm", "c/_ganray/5.png"),
    ]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"include": ["a/*"]}, ["a/1.JPG", "a/2.tif", "a/deep/3.webp"]),
        ({"include": ["*.jpg"]}, []),
        ({"include": ["*.JPG", "*.tif"]}, ["a/1.JPG", "a/2.tif"]),
        ({"include": ["a/?.*"]}, ["a/1.JPG", "a/2.tif"]),
        ({"include": ["*.txt"]}, []),
        ({"include": []}, []),
        ({"exclude": ["a/*", "*.png"]}, ["b/4.dcm"]),
        ({"include": ["a/*"], "exclude": ["*deep*"]}, ["a/1.JPG", "a/2.tif"]),
        ({"exclude": ["*"]}, []),
    ],
)
def test_globs_choose_keys(archive: Store, selection: dict, expected: list[str]) -> None:
    assert listed(archive, **selection) == expected


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(KEYS), st.sampled_from(["*", "a/*", "*.png", "?/*", "[ab]/*"]))
def test_every_image_is_either_included_or_excluded(
    tmp_path_factory: pytest.TempPathFactory, key: str, glob: str
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("archive")))
    store.write(key, b"")
    both = listed(store, include=[glob]) + listed(store, exclude=[glob])
    assert both == listed(store)


@pytest.mark.parametrize(
    ("key", "codec"),
    [
        ("a.png", "png"),
        ("a.jpg", "jpeg"),
        ("a.webp", "webp"),
        ("a.tif", "tiff"),
        ("lie.png", "jpeg"),
    ],
)
def test_an_input_is_what_its_header_says(store: Store, key: str, codec: str) -> None:
    data = encode(codec)
    info = store.write(key, data)
    assert probe_input(store, info) == Input(
        key=key,
        etag=info.etag,
        num_bytes=len(data),
        codec=codec,
        dtype="uint8",
        num_bands=3,
        height=5,
        width=7,
    )


def test_an_input_knows_its_pixels(probe: Callable[[str, bytes], Input]) -> None:
    assert probe("a.png", encode("png")).num_pixels == 35


@pytest.mark.parametrize("codec", ["png", "jpeg"])
def test_of_a_large_file_only_the_beginning_is_read(store: Store, codec: str) -> None:
    info = store.write(f"a.{codec}", encode(codec, 400, 400))
    assert info.num_bytes > HEADER_BYTES
    log = ReadLog(store)
    item = probe_input(log, info)
    assert isinstance(item, Input) and (item.height, item.width) == (400, 400)
    assert log.ranges == [(info.key, 0, HEADER_BYTES)]


@pytest.mark.parametrize(
    ("key", "data"),
    [
        # The header goes on behind the first bytes, or stands at the end.
        ("profile.png", encode("png", icc_profile=np.random.default_rng(0).bytes(HEADER_BYTES))),
        ("profile.jpg", encode("jpeg", icc_profile=bytes(2 * HEADER_BYTES))),
        ("lossless.webp", encode("webp", 300, 300, lossless=True)),
        ("deflated.tif", encode("tiff", 300, 300, compression="tiff_adobe_deflate")),
    ],
)
def test_a_header_beyond_the_first_bytes_is_found_in_the_whole_file(
    store: Store, key: str, data: bytes
) -> None:
    info = store.write(key, data)
    assert info.num_bytes > HEADER_BYTES
    log = ReadLog(store)
    item = probe_input(log, info)
    assert isinstance(item, Input) and item.num_bands == 3
    # A TIFF is first asked by ranges whether it is a raster.
    assert log.ranges[-2:] == [(key, 0, HEADER_BYTES), (key, 0, None)]
    assert len(log.ranges) == 2 or key.endswith(".tif")


@pytest.mark.parametrize(
    ("key", "data", "error"),
    [
        ("empty.png", b"", UndecodableError),
        ("text.jpg", b"no image", UndecodableError),
        ("large text.jpg", b"no image" * HEADER_BYTES, UndecodableError),
        ("short.png", encode("png")[:20], UndecodableError),
        ("scan.bmp", encode("png"), UnsupportedImageError),
    ],
)
def test_an_unreadable_input_is_a_value(
    probe: Callable[[str, bytes], Unreadable], key: str, data: bytes, error: type
) -> None:
    item = probe(key, data)
    assert isinstance(item, Unreadable)
    assert item.info.key == key and type(item.error) is error


def test_a_file_without_codec_is_not_read(store: Store) -> None:
    info = store.write("scan.bmp", b"data")
    log = ReadLog(store)
    assert isinstance(probe_input(log, info), Unreadable) and log.ranges == []


def test_inputs_keep_the_order_of_the_listing(store: Store) -> None:
    good = encode("png")
    for index in range(3 * PROBE_THREADS):
        store.write(f"{index:03}.png", good if index % 3 else b"damaged")
    items = list(probe_all(store, list_images(store, Selection())))
    keys = [item.key if isinstance(item, Input) else item.info.key for item in items]
    assert keys == sorted(keys) and len(keys) == 3 * PROBE_THREADS
    assert [isinstance(item, Unreadable) for item in items] == [i % 3 == 0 for i in range(48)]


def test_probing_stays_a_bounded_number_ahead(store: Store) -> None:
    info = store.write("a.png", encode("png"))
    drawn = 0

    def endless() -> object:
        nonlocal drawn
        while True:
            drawn += 1
            yield info

    items = probe_all(store, endless())
    for _ in range(5):
        next(items)
    items.close()
    assert drawn <= 5 + 4 * PROBE_THREADS


def test_a_file_that_vanished_or_is_locked_is_one_unreadable_input(store: Store) -> None:
    gone = ObjectInfo(key="gone.png", num_bytes=10, etag="1")
    (item,) = probe_all(store, iter([gone]))
    assert isinstance(item, Unreadable)
    assert isinstance(item.error, NotFoundError)


def test_a_store_that_is_gone_is_no_unreadable_input(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise UnreachableError("nobody answers")

    monkeypatch.setattr(store, "read", refuse)
    with pytest.raises(UnreachableError):
        list(probe_all(store, iter([ObjectInfo(key="a.png", num_bytes=10, etag="1")])))

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganray.codecs.catalog import (
    FAMILIES,
    WITHOUT_CODEC,
    Codecs,
    family_of,
    is_image,
    output_key,
    renames,
    suffix_of,
)
from ganray.codecs.photo_output import OutputConfig
from ganray.codecs.video_config import VideoConfig
from ganray.errors import UnsupportedImageError

SAME = Codecs()
CODECS = [
    SAME,
    Codecs(output=OutputConfig(format="tiff")),
    Codecs(output=OutputConfig(format="png"), video=VideoConfig(codec="h264")),
    Codecs(video=VideoConfig(codec="prores")),
]


@pytest.mark.parametrize("suffix", sorted(FAMILIES))
def test_every_suffix_is_an_image_with_a_family_in_any_case(suffix: str) -> None:
    for key in (f"a/b{suffix}", f"a/b{suffix.upper()}"):
        assert is_image(key) and family_of(key) == FAMILIES[suffix]


@pytest.mark.parametrize("suffix", sorted(WITHOUT_CODEC))
def test_an_image_without_a_codec_is_refused_by_name(suffix: str) -> None:
    assert is_image(f"a{suffix}")
    with pytest.raises(UnsupportedImageError, match=rf"no codec for \{suffix}; expected one of"):
        family_of(f"a{suffix}")


def test_other_files_are_no_images() -> None:
    assert not any(map(is_image, ["a.txt", "a", "a.png.json", ".png/x"]))


@pytest.mark.parametrize("suffix", sorted(FAMILIES))
def test_the_same_format_keeps_the_key_where_it_is_written(suffix: str) -> None:
    written = {".cin": ".dpx"}
    if FAMILIES[suffix] == "video":
        written |= {suffix: ".mkv"}
    assert output_key(f"x/y.z{suffix}", SAME) == f"x/y.z{written.get(suffix, suffix)}"


@pytest.mark.parametrize(
    ("key", "codecs", "expected"),
    [
        ("a.jpg", CODECS[1], "a.tif"),
        ("a.TIFF", CODECS[1], "a.TIFF"),
        ("a.b.webp", CODECS[2], "a.b.png"),
        ("film.mov", CODECS[2], "film.mp4"),
        ("film.mkv", CODECS[3], "film.mov"),
        ("film.MOV", CODECS[3], "film.MOV"),
    ],
)
def test_another_format_changes_the_suffix(key: str, codecs: Codecs, expected: str) -> None:
    assert output_key(key, codecs) == expected


@pytest.mark.parametrize("codecs", CODECS)
def test_two_keys_with_one_output_are_always_among_the_renames(codecs: Codecs) -> None:
    for first, second in product(FAMILIES, FAMILIES):
        outputs = {output_key(f"a{suffix}", codecs) for suffix in (first, second)}
        if first != second and len(outputs) == 1:
            assert suffix_of(outputs.pop()) in renames(codecs)


def test_an_archive_that_keeps_its_formats_has_few_names_to_remember() -> None:
    assert renames(SAME) == {".dpx", ".mkv"}


@given(st.text(min_size=1).filter(lambda s: "/" not in s and "\0" not in s and s.strip(".")))
def test_folders_are_kept(name: str) -> None:
    assert output_key(f"one/two/{name}.cin", SAME).startswith("one/two/")

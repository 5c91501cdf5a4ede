import pytest

from ganray.codecs.catalog import PHOTO, WITHOUT_CODEC, is_image, output_key, require_codec
from ganray.errors import UnsupportedImageError


@pytest.mark.parametrize("suffix", sorted(PHOTO))
def test_a_suffix_with_a_codec_is_an_image_in_any_case(suffix: str) -> None:
    for key in (f"a/b{suffix}", f"a/b{suffix.upper()}", f"a.b/c d.e{suffix}"):
        assert is_image(key)
        require_codec(key)


@pytest.mark.parametrize("suffix", sorted(WITHOUT_CODEC))
def test_an_image_without_a_codec_is_listed_and_refused_by_name(suffix: str) -> None:
    assert is_image(f"a/b{suffix}")
    with pytest.raises(UnsupportedImageError, match=rf"no codec for \{suffix}; expected .*\.jpeg"):
        require_codec(f"a/b{suffix.upper()}")


@pytest.mark.parametrize("key", ["a/readme.txt", "png", "a.png/b", "a/.png", "a.png.json"])
def test_another_file_is_no_image(key: str) -> None:
    assert not is_image(key)
    with pytest.raises(UnsupportedImageError, match="no codec"):
        require_codec(key)


@pytest.mark.parametrize(
    ("key", "output_format", "expected"),
    [
        ("a/b.PNG", "same", "a/b.PNG"),
        ("a/b.jpeg", "jpeg", "a/b.jpeg"),
        ("a/b.jpeg", "png", "a/b.png"),
        ("a.x/b.c.tif", "jpeg", "a.x/b.c.jpg"),
        ("b.png", "tiff", "b.tif"),
        ("b.TIFF", "tiff", "b.TIFF"),
    ],
)
def test_a_suffix_changes_only_with_the_format(key: str, output_format: str, expected: str) -> None:
    assert output_key(key, output_format) == expected

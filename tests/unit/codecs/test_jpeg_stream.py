import io

import numpy as np
import pytest
from PIL import Image

from ganray.codecs.jpeg_stream import encode_jpeg

ICC = bytes(range(256)) * 300
EXIF = Image.Exif()
EXIF[0x010E] = "a description"


def noise(*shape: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 7, *shape[2:]), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[1::-1], Image.Resampling.BICUBIC))


def by_pillow(samples: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(samples).save(
        buffer,
        format="jpeg",
        quality=quality,
        subsampling=0,
        dpi=(300, 240),
        icc_profile=ICC,
        exif=EXIF,
        comment="a comment",
    )
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(61, 83, 3), (61, 83), (1, 1, 3), (1, 200)])
@pytest.mark.parametrize("quality", [1, 60, 95, 100])
def test_the_stream_is_what_pillow_would_have_written(shape: tuple[int, ...], quality: int) -> None:
    samples = noise(*shape)
    metadata = by_pillow(samples[:1, :1], quality)
    assert encode_jpeg(samples, quality, metadata) == by_pillow(samples, quality)


@pytest.mark.parametrize("shape", [(301, 299, 3), (301, 299)])
@pytest.mark.parametrize("values", [[0, 255], list(range(256))])
@pytest.mark.parametrize("quality", [98, 100])
def test_noise_that_grows_has_room(shape: tuple[int, ...], values: list[int], quality: int) -> None:
    samples = np.random.default_rng(0).choice(np.uint8(values), shape)
    result = encode_jpeg(samples, quality, by_pillow(samples[:1, :1], quality))
    assert len(result) > samples.nbytes
    assert result == by_pillow(samples, quality)

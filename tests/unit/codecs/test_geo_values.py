import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.codecs import geo_sample
from ganray.codecs.geo import GeoWindows
from ganray.codecs.geo_config import GeoConfig
from ganray.config import build_config, load_config
from ganray.errors import ConfigError, UnsupportedImageError
from ganray.raster.image import ValueRange
from tests.unit.codecs.geo_files import KEY, geotiff, opened, repeated, values
from tests.unit.codecs.tiff_files import Memory


def value_range(data: bytes, **config: object) -> ValueRange | None:
    return opened(data, build_config(GeoConfig, config)).profile.value_range


@pytest.mark.parametrize(
    ("dtype", "options", "expected"),
    [
        ("uint8", {}, (0.0, 255.0)),
        ("uint16", {}, (0.0, 65535.0)),
        ("uint16", {"nbits": 12}, (0.0, 4095.0)),
        ("int16", {}, (-32768.0, 32767.0)),
        ("float32", {}, None),
    ],
)
def test_by_type_all_values_that_it_holds_are_meant(
    dtype: str, options: dict[str, int], expected: ValueRange | None
) -> None:
    pixels = values((2, 9, 9), dtype) // 16 if options else values((2, 9, 9), dtype)
    assert value_range(geotiff(pixels, **options)) == expected


def test_bits_that_are_not_used_are_named() -> None:
    raster = opened(geotiff(values((1, 9, 9), "uint16") // 16, nbits=12))
    assert raster.profile.lost == ("12-bit depth",)


def test_fixed_values_are_of_all_bands_or_of_each_but_alpha() -> None:
    data = geotiff(values((4, 9, 9), "uint16"), photometric="RGB", alpha="YES")
    assert value_range(data, values="fixed") == (0.0, 10000.0)
    assert value_range(data, values="fixed", low=1, high=[10, 20, 30]) == (
        *((1.0, 10.0), (1.0, 20.0), (1.0, 30.0)),
        (0.0, 65535.0),
    )
    with pytest.raises(UnsupportedImageError, match=r"3 bands besides alpha; .* lists of 2"):
        value_range(data, values="fixed", high=[10, 20])


@pytest.mark.parametrize(
    "wrong",
    [
        {"low": 5, "high": 5},
        {"low": [1, 2], "high": [3, 4, 5]},
        {"low": []},
        {"high": float("nan")},
        {"percentiles": [99, 1]},
        {"percentiles": [-1, 50]},
        {"bands": [0]},
        {"bands": "some"},
        {"values": "minmax"},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        build_config(GeoConfig, wrong)


def test_every_field_can_be_given_on_the_command_line() -> None:
    arguments = ["values=fixed", "low=[0,1]", "high=[10,20.5]", "bands=[3,2,1]", "stac=true"]
    config = load_config(GeoConfig, [*arguments, "percentiles=[1,99]", "max_bands=20"])
    assert (config.low, config.high, config.bands) == ((0.0, 1.0), (10.0, 20.5), (3, 2, 1))
    assert load_config(GeoConfig, ["bands=each"]).bands == "each"


def test_percentiles_are_of_values_alone() -> None:
    pixels = np.arange(100 * 100, dtype=np.int16).reshape(1, 100, 100) - 5000
    pixels[0, ::2] = -32768
    found = value_range(geotiff(pixels, nodata=-32768), values="percentiles", percentiles=[10, 90])
    kept = pixels[pixels != -32768]
    assert found == (tuple(np.percentile(kept.astype(float), (10, 90))),)


def test_a_band_without_contrast_has_a_range_all_the_same() -> None:
    pixels = np.stack([np.full((9, 9), 7), np.zeros((9, 9))]).astype("uint8")
    assert value_range(geotiff(pixels, nodata=0), values="percentiles") == (
        (7.0, 8.0),
        (0.0, 255.0),
    )


@given(seed=st.integers(0, 3))
@settings(max_examples=4, deadline=None)
def test_a_sample_of_a_large_scene_has_its_percentiles_nearly(seed: int) -> None:
    random = np.random.default_rng(seed)
    slopes = np.add.outer(np.arange(700), np.arange(900)) * 10
    pixels = (slopes + random.integers(0, 500, slopes.shape)).astype("uint16")[np.newaxis]
    plain = geotiff(pixels, tiled=True, blockxsize=64, blockysize=64)
    expected = np.percentile(pixels.astype(float), (0.5, 99.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geo_sample, "SIDE", 128)
        for data in (plain, repeated(plain, 1)):
            store = Memory(**{KEY: data})
            config = GeoConfig(values="percentiles")
            (found,) = GeoWindows(store, KEY, config).profile.value_range
            assert np.allclose(found, expected, rtol=0.25, atol=900)
            assert sum(end - start for _, start, end in store.reads) < len(data) / 2
            again = GeoWindows(store, KEY, config).profile.value_range
            assert again == (found,)

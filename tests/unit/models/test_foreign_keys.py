from itertools import product

import pytest
import torch

from ganray.errors import MissingExtraError
from ganray.models.catalog import GENERATORS
from ganray.models.foreign_keys import READERS, Recognised, recognise
from tests.unit.models.published import (
    Tensors,
    compact_tensors,
    rrdb_names,
    rrdb_output,
    rrdb_tensors,
    span_output,
    span_tensors,
    srgan_tensors,
)

NAMINGS = ("BasicSR", "BSRGAN", "ESRGAN")


def found_in(tensors: Tensors, **overrides: int) -> Recognised:
    found = recognise(tensors, "auto", overrides)
    assert found is not None
    return found


def build(found: Recognised) -> torch.nn.Module:
    choice = GENERATORS[found.architecture]
    network = choice.build(choice.config.model_validate(found.options))
    network.load_state_dict(found.tensors)
    return network.eval()


@pytest.mark.parametrize(("naming", "blocks", "ups"), product(NAMINGS, [1, 2], [0, 1, 2, 3]))
def test_every_naming_of_rrdb_is_renamed_to_one(naming: str, blocks: int, ups: int) -> None:
    names = rrdb_names(naming, blocks=blocks, ups=ups)
    tensors = rrdb_tensors(names, blocks=blocks)
    found = found_in(tensors)
    assert (found.architecture, found.naming, found.note) == ("rrdb", naming, "")
    assert found.options == {
        **{"bands": 3, "in_bands": 3, "num_features": 4, "num_blocks": blocks, "growth": 2},
        **{"scale": 2**ups, "unshuffle": 1},
    }
    image = torch.rand(1, 3, 6, 8)
    torch.testing.assert_close(build(found)(image), rrdb_output(tensors, names, image, blocks))


NAMES = rrdb_names("BasicSR", blocks=1, ups=2)


@pytest.mark.parametrize(
    ("channels", "overrides", "in_bands", "scale"),
    [
        (3, {}, 3, 4),
        (6, {}, 6, 4),
        (24, {}, 24, 4),
        (12, {}, 3, 2),
        (48, {}, 3, 1),
        (12, {"scale": 4}, 12, 4),
        (12, {"scale": 2}, 3, 2),
        (12, {"in_bands": 12}, 12, 4),
        (12, {"in_bands": 3}, 3, 2),
        (12, {"scale": 4, "in_bands": 12}, 12, 4),
        (12, {"unshuffle": 1}, 12, 4),
        (48, {"scale": 4}, 48, 4),
        (48, {"scale": 2}, 12, 2),
    ],
)
def test_input_channels_are_bands_blocks_of_pixels_or_images(
    channels: int, overrides: dict[str, int], in_bands: int, scale: int
) -> None:
    found = found_in(rrdb_tensors(NAMES, channels=channels), **overrides)
    assert (found.options["in_bands"], found.options["scale"]) == (in_bands, scale)
    assert build(found)(torch.rand(1, 3, 4, 4)).shape[-1] == 4 * scale


def test_a_choice_between_two_readings_is_noted_unless_it_was_told() -> None:
    tensors = rrdb_tensors(NAMES, channels=12)
    assert "in blocks of 2x2 pixels (x2)" in found_in(tensors).note
    assert "give the options scale: 4" in found_in(tensors).note
    assert found_in(tensors, scale=2).note == ""
    assert found_in(tensors, scale=4).note.startswith("takes 4 images of one place")
    assert found_in(rrdb_tensors(NAMES)).note == ""


def test_a_variant_of_rrdb_with_more_tensors_is_none() -> None:
    tensors = rrdb_tensors(NAMES) | {"body.0.rdb1.conv1x1.weight": torch.zeros(2, 4, 1, 1)}
    assert READERS["rrdb"](tensors, {}) is None


@pytest.mark.parametrize(("scale", "bands", "convs"), product([1, 2, 3, 4], [1, 3], [1, 3]))
def test_a_compact_network_is_known_by_its_shapes(scale: int, bands: int, convs: int) -> None:
    tensors = compact_tensors(convs=convs, scale=scale, bands=bands)
    found = found_in(tensors)
    options = {"bands": bands, "num_features": 4, "num_convs": convs, "scale": scale}
    assert (found.architecture, found.options) == ("compact", options)
    assert build(found)(torch.rand(1, bands, 4, 5)).shape == (1, bands, 4 * scale, 5 * scale)


def test_a_compact_network_whose_bands_differ_is_none() -> None:
    tensors = compact_tensors(scale=2)
    tensors["body.6.weight"] = torch.zeros(5, 4, 3, 3)
    assert READERS["compact"](tensors, {}) is None
    del tensors["body.6.weight"]
    assert READERS["compact"](tensors, {}) is None


@pytest.mark.parametrize(("ups", "blocks", "old"), product([1, 2, 3], [1, 5], [False, True]))
def test_a_network_of_srgan_is_known_by_its_blocks(ups: int, blocks: int, old: bool) -> None:
    found = found_in(srgan_tensors(ups=ups, blocks=blocks, old=old))
    assert (found.architecture, found.naming) == ("srresnet", "leftthomas/SRGAN")
    assert found.options == {
        **{"bands": 3, "num_features": 4, "num_blocks": blocks, "scale": 2**ups},
        "trunk_end": "prelu" if old else "batch_norm",
    }
    counts = [t for n, t in build(found).state_dict().items() if n.endswith("batches_tracked")]
    assert all(count == (0 if old else 41) for count in counts) and counts


@pytest.mark.parametrize(("scale", "blocks", "plain"), product([1, 2, 4], [1, 3], [True, False]))
def test_a_span_is_folded_and_does_what_its_training_form_does(
    scale: int, blocks: int, plain: bool
) -> None:
    tensors = span_tensors(scale=scale, blocks=blocks, plain=plain)
    found = found_in(tensors)
    assert found.architecture == "span"
    assert found.options == {
        **{"bands": 3, "num_features": 4, "num_blocks": blocks, "scale": scale},
        "centred": not plain,
    }
    image = torch.rand(1, 3, 6, 7)
    expected = span_output(tensors, image, blocks=blocks, scale=scale)
    torch.testing.assert_close(build(found)(image), expected, rtol=1e-2, atol=2e-3)


def test_a_span_with_parts_that_do_not_fit_is_none() -> None:
    for part in ("conv.1.weight", "conv.2.bias", "sk.weight"):
        tensors = span_tensors()
        tensors[f"block_1.c2_r.{part}"] = torch.zeros(5, 5, 5, 5)
        assert READERS["span"](tensors, {}) is None
        del tensors[f"block_1.c2_r.{part}"]
        assert READERS["span"](tensors, {}) is None


@pytest.mark.parametrize(
    ("tensors", "architecture"),
    [
        (rrdb_tensors(NAMES), "rrdb"),
        (compact_tensors(), "compact"),
        (srgan_tensors(), "srresnet"),
        (span_tensors(), "span"),
    ],
)
def test_every_reader_knows_its_own_network_only(tensors: Tensors, architecture: str) -> None:
    for name, reader in READERS.items():
        assert (reader(tensors, {}) is not None) == (name == architecture)
        assert (recognise(tensors, name, {}) is not None) == (name == architecture)


def test_what_no_reader_knows_is_left_to_spandrel() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'ganray\[spandrel\]'"):
        recognise({"layers.0.weight": torch.zeros(1)}, "auto", {})


@pytest.mark.parametrize("shape", [(1,), (1, 1), (3, 3, 3, 3, 3)])
def test_known_names_with_strange_shapes_end_in_no_crash(shape: tuple[int, ...]) -> None:
    for tensors in (rrdb_tensors(NAMES), compact_tensors(), srgan_tensors(), span_tensors()):
        strange = {name: torch.zeros(shape) for name in tensors}
        assert all(reader(strange, {}) is None for reader in READERS.values())

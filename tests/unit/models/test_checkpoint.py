import io
import json
import pickle
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ganray import __version__
from ganray.config import build_config
from ganray.errors import CheckpointError, ConfigError, GanrayError
from ganray.models.catalog import DISCRIMINATORS, GENERATORS, SHIPPED, shipped_path
from ganray.models.checkpoint import (
    Provenance,
    ReadingConfig,
    build_generator,
    decode_checkpoint,
    digest_generator,
    encode_checkpoint,
    load_checkpoint,
    read_checkpoint,
)
from tests.unit.models.published import (
    Tensors,
    as_safetensors,
    as_torch,
    compact_tensors,
    rrdb_names,
    rrdb_output,
    rrdb_tensors,
    srgan_output,
    srgan_tensors,
)

PROVENANCE = Provenance(trained_on="ü", training={"steps": 7, "config": {"seed": [1, 2]}})


def encode(**options: int) -> bytes:
    generator, network = build_generator("compact", {"num_features": 4, "num_convs": 1} | options)
    return encode_checkpoint(generator, "compact", network, PROVENANCE)


def rewrite(data: bytes, **changes: object) -> bytes:
    """The same tensors with other metadata; a value of None takes a key away."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    content = json.loads(header["__metadata__"]["ganray"]) | changes
    content = {name: value for name, value in content.items() if value is not None}
    metadata = {"ganray": json.dumps(content)}
    return safetensors.torch.save(safetensors.torch.load(data), metadata)


def refusal(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        decode_checkpoint(data, "some/file")
    message = str(caught.value)
    assert "some/file" in message
    return message


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 3]), st.integers(0, 3))
def test_a_round_trip_keeps_every_field(scale: int, bands: int, convs: int) -> None:
    options = {"num_features": 4, "num_convs": convs, "scale": scale, "bands": bands}
    generator, network = build_generator("compact", options)
    data = encode_checkpoint(generator, "compact", network, PROVENANCE)
    checkpoint = decode_checkpoint(data, "memory")
    assert (checkpoint.architecture, checkpoint.network) == ("compact", network)
    assert (checkpoint.bands, checkpoint.scale, checkpoint.radius) == (bands, scale, convs + 2)
    assert checkpoint.value_range == (0.0, 1.0)
    assert Provenance(checkpoint.trained_on, checkpoint.training) == PROVENANCE
    assert checkpoint.version == __version__
    assert checkpoint.digest == digest_generator(generator, "compact", network)
    loaded = checkpoint.generator.state_dict()
    assert loaded.keys() == generator.state_dict().keys()
    assert all(torch.equal(loaded[name], t) for name, t in generator.state_dict().items())
    assert not checkpoint.generator.training


def test_the_digest_names_network_and_weights_and_not_where_they_come_from() -> None:
    data = encode()
    renamed = rewrite(data, trained_on="something else", ganray_version="9.9")
    assert decode_checkpoint(renamed, "b").digest == decode_checkpoint(data, "a").digest
    checkpoint = decode_checkpoint(data, "a")
    with torch.no_grad():
        checkpoint.generator.body[0].bias[0] += 1e-6
    changed = digest_generator(checkpoint.generator, "compact", checkpoint.network)
    assert changed != checkpoint.digest


def test_a_checkpoint_is_loaded_by_path_and_by_catalog_name(tmp_path: Path) -> None:
    data = encode()
    path = tmp_path / "generator.safetensors"
    path.write_bytes(data)
    assert load_checkpoint(str(path)).digest == decode_checkpoint(data, "memory").digest
    name = next(iter(SHIPPED))
    assert read_checkpoint(name) == shipped_path(name).read_bytes()


def test_every_shipped_generator_loads() -> None:
    for name in SHIPPED:
        checkpoint = load_checkpoint(name)
        assert checkpoint.generator(torch.rand(1, checkpoint.bands, 4, 4)).isfinite().all()


@pytest.mark.parametrize("name", ["compact-x4", "compactx2"])
def test_an_unknown_catalog_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_checkpoint(name)
    assert f"unknown generator {name!r}; did you mean 'compact-x2'?" in str(caught.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GanrayError, match=r"absent\.safetensors"):
        load_checkpoint(str(tmp_path / "absent.safetensors"))


def test_an_unknown_architecture_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="Known: compact"):
        build_generator("transformer", {})


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_is_named_and_never_opened(protocol: int) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (pytest.fail, ("the pickle was opened",))

    assert "a pickle, which can run code" in refusal(pickle.dumps(Trap(), protocol))


def test_a_header_whose_length_begins_as_a_pickle_does_is_read() -> None:
    checkpoints = (rewrite(encode(), trained_on="x" * length) for length in range(0, 512, 8))
    alike = [data for data in checkpoints if data[:1] == b"\x80"]
    assert alike
    assert all(decode_checkpoint(data, "memory").trained_on for data in alike)


def test_a_file_of_torch_save_is_named() -> None:
    buffer = io.BytesIO()
    torch.save({"params": torch.zeros(3)}, buffer)
    assert "torch.save" in refusal(buffer.getvalue())


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "an empty file"),
        (b"\x01", "no safetensors"),
        (b"\x89PNG\r\n\x1a\n0000", "(its first bytes are b'\\x89PNG"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff{", "no safetensors"),
        (b"\xff\xff\xff\xff\0\0\0\0{", "no readable safetensors header"),
        (b"\x02\0\0\0\0\0\0\0{}", "0 tensors"),
        (b"\x04\0\0\0\0\0\0\0{[1]", "no readable safetensors header"),
    ],
)
def test_another_kind_of_file_is_named(data: bytes, found: str) -> None:
    assert found in refusal(data)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_truncated_checkpoint_is_refused_wherever_it_was_cut(data: st.DataObject) -> None:
    content = encode()
    header = 8 + int.from_bytes(content[:8], "little")
    length = data.draw(
        st.one_of(st.integers(0, len(content) - 1), st.integers(header - 3, header + 3))
    )
    refusal(content[:length])


def test_a_foreign_safetensors_file_is_described() -> None:
    tensors = {f"layer{index}": torch.zeros(2) for index in range(7)}
    message = refusal(safetensors.torch.save(tensors))
    assert "7 tensors (layer0, layer1, layer2" in message and "layer3" not in message
    assert "7 tensors" in refusal(safetensors.torch.save(tensors, {"format": "pt"}))


def test_the_tensors_of_another_network_are_refused() -> None:
    data = encode()
    network = {"num_features": 8, "num_convs": 1, "scale": 2, "bands": 3}
    assert "does not hold the network it names" in refusal(rewrite(data, network=network))


@pytest.mark.parametrize(
    "key",
    [
        *("architecture", "network", "bands", "scale", "receptive_field_radius", "value_range"),
        *("trained_on", "training", "ganray_version"),
    ],
)
def test_metadata_without_one_of_its_keys_is_refused(key: str) -> None:
    assert key in refusal(rewrite(encode(), **{key: None}))


def test_an_architecture_or_option_of_another_version_is_refused() -> None:
    assert "'transformer'" in refusal(rewrite(encode(), architecture="transformer"))
    assert "'depth'" in refusal(rewrite(encode(), network={"depth": 3}))


def test_metadata_that_is_no_json_object_is_refused() -> None:
    data = encode()
    for content in ("{", "[]", '"text"'):
        metadata = {"ganray": content}
        refusal(safetensors.torch.save(safetensors.torch.load(data), metadata))


def test_every_architecture_builds_from_its_defaults() -> None:
    # What spandrel builds has its shape from its tensors alone.
    own = [GENERATORS[name] for name in GENERATORS if name != "spandrel"]
    for architecture in (*own, *DISCRIMINATORS.values()):
        assert sum(p.numel() for p in architecture.build(architecture.config()).parameters()) > 0


def test_equal_weights_have_equal_bytes() -> None:
    generator, network = build_generator("compact", {"num_features": 4, "num_convs": 1})
    first, second = (encode_checkpoint(generator, "compact", network, PROVENANCE) for _ in range(2))
    assert first == second


RRDB_NAMES = rrdb_names("ESRGAN", blocks=2, ups=2)
PUBLISHED = {
    "rrdb": rrdb_tensors(RRDB_NAMES, blocks=2),
    "compact": compact_tensors(scale=3),
    "srresnet": srgan_tensors(),
}


def write(folder: Path, data: bytes, name: str) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def published_output(architecture: str, tensors: Tensors, image: torch.Tensor) -> torch.Tensor:
    if architecture == "rrdb":
        return rrdb_output(tensors, RRDB_NAMES, image, blocks=2)
    if architecture == "srresnet":
        return srgan_output(tensors, image)
    features = image
    for position in range(7):
        weight = tensors[f"body.{position}.weight"]
        if position % 2:
            features = F.prelu(features, weight)
        else:
            features = F.conv2d(features, weight, tensors[f"body.{position}.bias"], padding=1)
    return F.pixel_shuffle(features, 3) + F.interpolate(image, scale_factor=3)


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "pt"])
@pytest.mark.parametrize("architecture", list(PUBLISHED))
def test_a_published_generator_works_as_its_publisher_says(
    architecture: str, suffix: str, tmp_path: Path
) -> None:
    tensors = PUBLISHED[architecture]
    data = {
        "safetensors": as_safetensors(tensors),
        "pth": as_torch({"params_ema": tensors, "params": {}}),
        "pt": as_torch({f"module.{name}": tensor for name, tensor in tensors.items()}, legacy=True),
    }[suffix]
    checkpoint = load_checkpoint(write(tmp_path, data, f"published.{suffix}"))
    assert checkpoint.architecture == architecture and checkpoint.is_foreign
    assert not checkpoint.generator.training
    image = torch.rand(1, 3, 6, 7)
    expected = published_output(architecture, tensors, image)
    torch.testing.assert_close(checkpoint.generator(image), expected)


def test_a_conversion_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    for architecture, tensors in PUBLISHED.items():
        uri = write(tmp_path, as_torch(tensors), f"{architecture}.pth")
        torch.manual_seed(1)
        first = read_checkpoint(uri)
        torch.manual_seed(2)
        assert read_checkpoint(uri, ReadingConfig()) == first
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        moved = write(tmp_path / "elsewhere", as_torch(tensors), f"{architecture}.pth")
        assert read_checkpoint(moved) == first


def test_a_converted_checkpoint_is_one_of_ganrays(tmp_path: Path) -> None:
    data = read_checkpoint(write(tmp_path, as_torch(PUBLISHED["rrdb"]), "a.pth"))
    assert read_checkpoint(write(tmp_path, data, "a.safetensors")) == data


def test_counts_of_batches_and_running_means_survive(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(write(tmp_path, as_torch(PUBLISHED["srresnet"]), "a.pth"))
    state = checkpoint.generator.state_dict()
    assert state["blocks.0.bn1.num_batches_tracked"] == 41
    mean = PUBLISHED["srresnet"]["block2.bn1.running_mean"]
    assert torch.equal(state["blocks.0.bn1.running_mean"], mean)


def test_a_blend_of_two_files_is_the_blend_of_their_weights(tmp_path: Path) -> None:
    tensors = [compact_tensors(), compact_tensors()]
    first, second = (write(tmp_path, as_torch(t), f"{n}.pth") for n, t in enumerate(tensors))
    mixed = load_checkpoint(first, ReadingConfig(blend=second, blend_weight=0.25))
    for name, tensor in mixed.generator.state_dict().items():
        expected = 0.25 * tensors[0][name] + 0.75 * tensors[1][name]
        torch.testing.assert_close(tensor, expected)
    assert "0.25 of (unknown: third-party file 0.pth)" in mixed.trained_on


def test_generators_of_ganrays_are_blended_too(tmp_path: Path) -> None:
    second = write(tmp_path, encode(), "b.safetensors")
    first = write(tmp_path, encode(), "a.safetensors")
    mixed = load_checkpoint(first, ReadingConfig(blend=second, blend_weight=0.5))
    assert mixed.is_foreign and mixed.trained_on == "0.5 of (ü), 0.5 of (ü)"
    own = PROVENANCE.training
    assert mixed.training == own | {"blend_weight": 0.5, "blend": own}
    with pytest.raises(CheckpointError, match=r"differ in body\.0\.bias"):
        load_checkpoint("compact-x2", ReadingConfig(blend=first, blend_weight=0.5))


def test_a_checkpoint_of_ganrays_needs_no_telling(tmp_path: Path) -> None:
    own = write(tmp_path, encode(), "a.safetensors")
    for reading in (ReadingConfig(architecture="rrdb"), ReadingConfig(options={"scale": 2})):
        with pytest.raises(ConfigError, match="says itself what it is"):
            read_checkpoint(own, reading)


def test_the_option_that_is_told_wins(tmp_path: Path) -> None:
    names = rrdb_names("BasicSR", blocks=1, ups=2)
    tensors = rrdb_tensors(names, channels=12)
    uri = write(tmp_path, as_torch(tensors), "satlas.pth")
    assert load_checkpoint(uri).scale == 2
    told = load_checkpoint(uri, ReadingConfig(architecture="rrdb", options={"scale": 4}))
    assert (told.scale, told.bands, told.alignment) == (4, 3, 1)
    images = torch.rand(1, 12, 5, 5)
    torch.testing.assert_close(told.generator(images), rrdb_output(tensors, names, images))


def test_options_that_contradict_the_tensors_are_refused(tmp_path: Path) -> None:
    uri = write(tmp_path, as_torch(compact_tensors()), "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth does not fit compact with .*'scale': 4"):
        read_checkpoint(uri, ReadingConfig(options={"scale": 4}))
    with pytest.raises(ConfigError, match="unknown key 'scales'; did you mean 'scale'"):
        read_checkpoint(uri, ReadingConfig(options={"scales": 4}))
    tensors = rrdb_tensors(rrdb_names("BasicSR", blocks=1, ups=2), channels=12)
    uri = write(tmp_path, as_torch(tensors), "b.pth")
    for options in ({"scale": "four"}, {"scale": 0}, {"unshuffle": None}, {"in_bands": 7}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            read_checkpoint(uri, ReadingConfig(options=options))


def test_a_variant_that_ganray_does_not_build_is_refused(tmp_path: Path) -> None:
    uri = write(tmp_path, as_torch(compact_tensors(scale=5)), "a.pth")
    with pytest.raises(CheckpointError, match="a variant of compact that ganray does not build"):
        read_checkpoint(uri)
    tensors = compact_tensors() | {"body.3.bias": torch.zeros(4)}
    with pytest.raises(CheckpointError, match=r"Unexpected key.*body\.3\.bias"):
        read_checkpoint(write(tmp_path, as_torch(tensors), "b.pth"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"architecture": "unet"},
            "'unet' is none of auto, rrdb, compact, span, srresnet, spandrel",
        ),
        ({"blend_weight": 0.5}, "needs a second generator: blend"),
        ({"blend": "b.pth", "blend_weight": 1.5}, "from 0 to 1"),
    ],
)
def test_a_reading_that_makes_no_sense_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config(ReadingConfig, values)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_truncated_file_of_any_kind_is_refused(data: st.DataObject) -> None:
    kinds = (as_torch(PUBLISHED["compact"]), as_safetensors(PUBLISHED["compact"]), encode())
    content = data.draw(st.sampled_from(kinds))
    with TemporaryDirectory() as folder:
        cut = content[: data.draw(st.integers(0, len(content) - 1))]
        uri = write(Path(folder), cut, "a.pth")
        with pytest.raises(CheckpointError, match=r"a\.pth"):
            load_checkpoint(uri)

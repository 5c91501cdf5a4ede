import io
import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray import __version__
from ganray.errors import CheckpointError, ConfigError, GanrayError
from ganray.models.catalog import DISCRIMINATORS, GENERATORS, SHIPPED, shipped_path
from ganray.models.checkpoint import (
    Provenance,
    build_generator,
    decode_checkpoint,
    digest_bytes,
    encode_checkpoint,
    load_checkpoint,
    read_checkpoint,
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
    assert (checkpoint.digest, checkpoint.version) == (digest_bytes(data), __version__)
    loaded = checkpoint.generator.state_dict()
    assert loaded.keys() == generator.state_dict().keys()
    assert all(torch.equal(loaded[name], t) for name, t in generator.state_dict().items())
    assert not checkpoint.generator.training


def test_the_digest_names_the_content() -> None:
    data = encode()
    other = rewrite(data, trained_on="something else")
    assert decode_checkpoint(data, "a").digest == decode_checkpoint(data, "b").digest
    assert decode_checkpoint(other, "a").digest != decode_checkpoint(data, "a").digest


def test_a_checkpoint_is_loaded_by_path_and_by_catalog_name(tmp_path: Path) -> None:
    data = encode()
    path = tmp_path / "generator.safetensors"
    path.write_bytes(data)
    assert load_checkpoint(str(path)).digest == digest_bytes(data)
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
        (b"\x89PNG\r\n\x1a\n0000", "no safetensors (its first bytes are b'\\x89PNG"),
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
    for architecture in (*GENERATORS.values(), *DISCRIMINATORS.values()):
        assert sum(p.numel() for p in architecture.build(architecture.config()).parameters()) > 0


def test_equal_weights_have_equal_bytes() -> None:
    generator, network = build_generator("compact", {"num_features": 4, "num_convs": 1})
    first, second = (encode_checkpoint(generator, "compact", network, PROVENANCE) for _ in range(2))
    assert first == second

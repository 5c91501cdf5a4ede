import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.errors import CheckpointError, MissingExtraError
from ganray.models.conversion import Source, blend, convert
from tests.unit.models.published import (
    as_torch,
    compact_tensors,
    rrdb_names,
    rrdb_tensors,
    srgan_tensors,
)


def source(tensors: dict[str, torch.Tensor], name: str = "a.pth") -> Source:
    return convert(as_torch({"params": tensors}), f"s3://bucket/folder/{name}", "auto", {})


def test_the_provenance_names_the_file_and_not_its_place() -> None:
    data = as_torch({"params": compact_tensors()})
    found = convert(data, "/home/someone/x4v3.pth", "auto", {})
    assert found.trained_on == "unknown: third-party file x4v3.pth"
    assert found.training == {
        "source_file": "x4v3.pth",
        "source_sha256": hashlib.sha256(data).hexdigest(),
        "naming": "BasicSR",
        "wrapper": "params",
    }


def test_a_choice_between_readings_stands_in_the_provenance() -> None:
    tensors = rrdb_tensors(rrdb_names("BasicSR", blocks=1, ups=2), channels=12)
    assert "Real-ESRGAN" in source(tensors).training["note"]


def test_options_win_over_those_inferred() -> None:
    found = convert(as_torch(compact_tensors()), "a.pth", "compact", {"scale": 1})
    assert found.options == {"bands": 3, "num_features": 4, "num_convs": 2, "scale": 1}


def test_tensors_of_no_known_network_are_described() -> None:
    data = as_torch({f"layer{n}.weight": torch.zeros(2, n + 1) for n in range(5)})
    with pytest.raises(MissingExtraError) as caught:
        convert(data, "a.pth", "auto", {})
    message = str(caught.value)
    assert "a.pth holds 5 tensors (layer0.weight (2, 1), layer1.weight (2, 2), " in message
    assert "expected those of one of rrdb, compact, span, srresnet" in message
    assert "pip install 'ganray[spandrel]'" in message


def test_tensors_of_another_network_than_told_are_described() -> None:
    with pytest.raises(CheckpointError) as caught:
        convert(as_torch(compact_tensors()), "a.pth", "rrdb", {})
    message = str(caught.value)
    assert "holds 11 tensors (body.0.weight (4, 3, 3, 3)" in message
    assert "expected those of rrdb; leave the architecture out" in message


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1))
def test_a_blend_is_the_weighted_mean_of_every_tensor(weight: float) -> None:
    first, second = source(compact_tensors()), source(compact_tensors(), "b.pth")
    mixed = blend(first, second, weight)
    for name, tensor in mixed.tensors.items():
        expected = weight * first.tensors[name] + (1 - weight) * second.tensors[name]
        torch.testing.assert_close(tensor, expected)


def test_a_blend_with_all_weight_on_one_is_that_one() -> None:
    first, second = source(compact_tensors()), source(compact_tensors(), "b.pth")
    for weight, chosen in ((1.0, first), (0.0, second)):
        mixed = blend(first, second, weight).tensors
        assert all(torch.equal(mixed[name], tensor) for name, tensor in chosen.tensors.items())


def test_a_blend_keeps_the_counts_of_the_first() -> None:
    first, second = source(srgan_tensors()), source(srgan_tensors(), "b.pth")
    count = blend(first, second, 0.5).tensors["blocks.0.bn1.num_batches_tracked"]
    assert count == 41 and count.dtype == torch.int64


def test_a_blend_tells_of_both() -> None:
    first, second = source(compact_tensors()), source(compact_tensors(), "b.pth")
    mixed = blend(first, second, 0.25)
    assert mixed.trained_on == (
        "0.25 of (unknown: third-party file a.pth), 0.75 of (unknown: third-party file b.pth)"
    )
    assert mixed.training == first.training | {"blend_weight": 0.25, "blend": second.training}


def test_different_networks_are_not_blended() -> None:
    first, second = source(compact_tensors()), source(compact_tensors(features=5), "b.pth")
    with pytest.raises(CheckpointError) as caught:
        blend(first, second, 0.5)
    message = str(caught.value)
    assert "differ in body.0.bias: (4,) (unknown: third-party file a.pth)" in message
    assert "and (5,) (unknown: third-party file b.pth)" in message
    with pytest.raises(CheckpointError, match=r"differ in blocks\.0\.bn1\.bias: absent"):
        blend(first, source(srgan_tensors(), "c.pth"), 0.5)

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganray.errors import CheckpointError
from ganray.models.foreign import WRAPPERS, open_weights
from tests.unit.models.published import as_safetensors, as_torch, compact_tensors


def refusal(data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_weights(data, "some/file.pth")
    message = str(caught.value)
    assert message.startswith("some/file.pth")
    return message


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_tensors_are_found_in_every_wrapper(wrapper: str, legacy: bool) -> None:
    tensors = compact_tensors()
    content = {wrapper: tensors, "iter": 7, "optimizer": {"lr": 0.1}}
    weights = open_weights(as_torch(content, legacy=legacy), "file.pth")
    assert weights.wrapper == wrapper
    assert weights.tensors.keys() == tensors.keys()
    assert all(torch.equal(weights.tensors[name], tensor) for name, tensor in tensors.items())


def test_bare_tensors_have_no_wrapper() -> None:
    tensors = compact_tensors()
    for data in (as_torch(tensors), as_safetensors(tensors), as_torch(tensors | {"epoch": 3})):
        weights = open_weights(data, "file.pth")
        assert weights.wrapper == "" and weights.tensors.keys() == tensors.keys()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(WRAPPERS), min_size=1, unique=True))
def test_of_several_wrappers_the_averaged_one_is_taken_first(wrappers: list[str]) -> None:
    content = {wrapper: {wrapper: torch.zeros(1)} for wrapper in wrappers}
    first = min(wrappers, key=WRAPPERS.index)
    assert list(open_weights(as_torch(content), "file.pth").tensors) == [first]


def test_an_empty_wrapper_is_passed_over() -> None:
    content = {"params_ema": {}, "params": {"a": torch.zeros(1)}}
    assert open_weights(as_torch(content), "file.pth").wrapper == "params"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["module.", "_orig_mod.", "netG.", "generator."]), max_size=3))
def test_what_trainers_put_before_names_is_taken_off(prefixes: list[str]) -> None:
    tensors = {"".join(prefixes) + name: tensor for name, tensor in compact_tensors().items()}
    assert open_weights(as_torch(tensors), "f").tensors.keys() == compact_tensors().keys()


def test_the_generator_is_taken_out_of_a_file_of_both_players() -> None:
    players = {"netG.a.weight": torch.zeros(1), "netD.b.weight": torch.zeros(1)}
    assert list(open_weights(as_torch({"state_dict": players}), "f").tensors) == ["a.weight"]


def test_a_prefix_that_not_all_names_have_is_a_name() -> None:
    tensors = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert open_weights(as_torch(tensors), "f").tensors.keys() == tensors.keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_weights_of_any_width_become_float32(dtype: torch.dtype) -> None:
    (tensor,) = open_weights(as_torch({"a": torch.ones(2, dtype=dtype)}), "f").tensors.values()
    assert tensor.dtype == torch.float32 and tensor.tolist() == [1, 1]


def test_integer_buffers_are_kept() -> None:
    found = open_weights(as_torch({"n.num_batches_tracked": torch.tensor(9)}), "f").tensors
    assert found["n.num_batches_tracked"] == 9
    assert found["n.num_batches_tracked"].dtype == torch.int64


def test_parameters_and_views_are_tensors_like_others() -> None:
    content = {"a": torch.nn.Parameter(torch.ones(2, 3)), "b": torch.ones(4, 4)[:, 1].t()}
    found = open_weights(as_torch(content), "f").tensors
    assert not found["a"].requires_grad and found["b"].is_contiguous()


class Trap:
    """Makes a file where it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_that_may_run_code_is_not_opened(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "opened"
    message = refusal(as_torch({"params": {"a": Trap(path)}}, legacy=legacy))
    assert "may run code when it is opened (it names " in message
    assert "and was not opened" in message
    assert "safetensors.torch.save_file" in message
    assert not path.exists()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_plain_pickle_is_not_opened(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "opened"
    assert "may run code" in refusal(pickle.dumps(Trap(path), protocol))
    assert not path.exists()


def test_a_whole_pickled_network_is_not_opened() -> None:
    message = refusal(as_torch(torch.nn.Conv2d(1, 1, 1)))
    assert "it names torch.nn.modules.conv.Conv2d" in message


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_truncated_file_is_refused_wherever_it_was_cut(data: st.DataObject) -> None:
    tensors = compact_tensors()
    kinds = (as_torch(tensors), as_torch(tensors, legacy=True), as_safetensors(tensors))
    content = data.draw(st.sampled_from(kinds))
    refusal(content[: data.draw(st.integers(0, len(content) - 1))])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_byte_ends_in_a_refusal_or_in_finite_tensors(data: st.DataObject) -> None:
    content = bytearray(as_torch({"a": torch.ones(3)}, legacy=data.draw(st.booleans())))
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    try:
        tensors = open_weights(bytes(content), "f").tensors.values()
    except CheckpointError:
        return
    assert all(tensor.isfinite().all() for tensor in tensors)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({}, "holds nothing and no tensors of a generator; expected them under one of params_ema"),
        ({"epoch": 3, "lr": 0.1}, "holds epoch, lr and no tensors"),
        ({"state": {0: {"step": 1}}, "param_groups": []}, "holds state, param_groups and no"),
        ({"params": {}}, "holds params and no tensors"),
        ([1, 2], "holds a list; expected a dictionary"),
        (torch.zeros(3), "holds a Tensor; expected a dictionary"),
        ({"a.weight": torch.zeros(2, dtype=torch.int8)}, "holds a.weight (2,) as int8"),
        ({"a.weight": torch.zeros(2, 2).to_sparse()}, "sparse_coo; expected floating weights"),
        ({"a.bias": torch.tensor([1.0, float("nan")])}, "NaN or infinity in a.bias (2,)"),
        ({"a": torch.tensor([float("inf")], dtype=torch.float16)}, "NaN or infinity in a (1,)"),
        ({"a.weight": torch.zeros(0, 3)}, "holds a.weight (0, 3); expected no empty tensor"),
        ({"netD.a.weight": torch.zeros(1)}, "holds a discriminator, by its 1 tensor (net"),
        ({"params": {"conv1.weight_orig": torch.zeros(1)}}, "conv1.weight_orig (1,)"),
    ],
)
def test_other_content_is_refused_by_what_it_is(content: object, found: str) -> None:
    assert found in refusal(as_torch(content))


@pytest.mark.filterwarnings("ignore:torch.quantize")
def test_quantised_weights_are_refused() -> None:
    tensor = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    assert "as qint8" in refusal(as_torch({"a.weight": tensor}))


def test_bytes_of_another_kind_are_refused() -> None:
    assert "is an empty file" in refusal(b"")
    assert "is no safetensors and no file of torch.save" in refusal(b"\x89PNG\r\n\x1a\n")

import json
import pickle

import pytest
import safetensors.torch
import torch

from ganray.models.header import file_kind, is_own
from tests.unit.models.published import as_safetensors, as_torch


@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_torch_save_are_known_by_their_first_bytes(legacy: bool) -> None:
    assert file_kind(as_torch({"a": torch.zeros(1)}, legacy=legacy)) == "torch"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_taken_for_such_files(protocol: int) -> None:
    assert file_kind(pickle.dumps({}, protocol)) == "torch"


def test_what_is_neither_is_described() -> None:
    assert file_kind(b"") == "an empty file"
    assert "first bytes are b'GIF89a'" in file_kind(b"GIF89a")


def test_only_files_with_metadata_of_ganray_are_its_own() -> None:
    tensors = {"a": torch.zeros(1)}
    assert is_own(safetensors.torch.save(tensors, {"ganray": json.dumps({"format": "future"})}))
    assert not is_own(as_safetensors(tensors))
    assert not is_own(safetensors.torch.save(tensors))
    assert not is_own(as_torch(tensors))


@pytest.mark.parametrize("data", [b"", b"\x04\0\0\0\0\0\0\0{[1]", b"\x02\0\0\0\0\0\0\0{}"])
def test_damaged_headers_are_nobodys(data: bytes) -> None:
    assert not is_own(data)

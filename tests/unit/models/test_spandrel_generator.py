"""The adapter, before a stand-in that keeps spandrel's contract: spandrel needs torchvision."""

import copy
import sys
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganray.errors import CheckpointError, MissingExtraError
from ganray.models import checkpoint
from ganray.models.checkpoint import ReadingConfig, decode_checkpoint, read_checkpoint
from ganray.models.foreign_keys import recognise
from ganray.models.radius import measure_radius
from ganray.models.spandrel_generator import SpandrelConfig, SpandrelGenerator
from tests.unit.models.published import as_torch, conv_tensors

CONFIG = SpandrelConfig(name="Odd", bands=3, scale=2, alignment=4)


class UnsupportedError(Exception):
    pass


@dataclass
class Sizes:
    multiple_of: int

    def get_padding(self, width: int, height: int) -> tuple[int, int]:
        return -width % self.multiple_of, -height % self.multiple_of


class Odd(nn.Module):
    """Magnifies twofold; takes only sides that 4 divides; two convolutions that share weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.again = self.first
        self.act = nn.LeakyReLU(0.1, inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        assert x.shape[2] % 4 == 0 and x.shape[3] % 4 == 0
        features = self.again(self.act(self.first(x)))
        return nn.functional.interpolate(features, scale_factor=2.0), "quality"


class Descriptor:
    purpose = "SR"
    architecture = SimpleNamespace(id="Odd")

    def __init__(self, network: nn.Module, outputs: int = 3) -> None:
        self.model = network
        self.scale = 2
        self.input_channels, self.output_channels = 3, outputs
        self.size_requirements = Sizes(4)
        self._call_fn = lambda model, image: model(image)[0]


class Plain(Descriptor):
    """From image to image."""


class Masked(Descriptor):
    purpose = "Inpainting"


class Loader:
    def load_from_state_dict(self, tensors: dict[str, Tensor]) -> Descriptor:
        if "first.weight" not in tensors:
            raise UnsupportedError
        network = Odd()
        network.load_state_dict(tensors, strict=False)
        outputs = 1 if "one.band" in tensors else 3
        return Masked(network) if "mask" in tensors else Plain(network, outputs)


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(
        ModelLoader=Loader, UnsupportedModelError=UnsupportedError, ImageModelDescriptor=Plain
    )
    monkeypatch.setitem(sys.modules, "spandrel", module)


def odd_tensors() -> dict[str, Tensor]:
    return conv_tensors("first", 3, 3)


def read(tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch, **reading: Any) -> bytes:
    monkeypatch.setattr(checkpoint, "read_uri", lambda uri: as_torch(tensors))
    return read_checkpoint("s3://b/odd.pth", ReadingConfig(**reading))


def expected_output(tensors: dict[str, Tensor], image: Tensor) -> Tensor:
    network = Odd()
    network.first.load_state_dict({n.removeprefix("first."): t for n, t in tensors.items()})
    return network(image)[0]


@pytest.mark.parametrize("architecture", ["auto", "spandrel"])
@pytest.mark.usefixtures("spandrel")
def test_an_unknown_network_is_rebuilt_from_its_tensors(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = odd_tensors()
    data = read(tensors, monkeypatch, architecture=architecture)
    found = decode_checkpoint(data, "memory")
    assert (found.architecture, found.network) == ("spandrel", CONFIG)
    assert (found.scale, found.bands, found.alignment) == (2, 3, 4)
    assert found.training["naming"] == "Odd"
    image = torch.rand(2, 3, 8, 12)
    torch.testing.assert_close(found.generator(image), expected_output(tensors, image))
    assert data == read(tensors, monkeypatch)


@pytest.mark.usefixtures("spandrel")
def test_sides_are_padded_to_what_the_network_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = decode_checkpoint(read(odd_tensors(), monkeypatch), "memory")
    assert found.generator(torch.rand(1, 3, 5, 7)).shape == (1, 3, 10, 14)


@pytest.mark.usefixtures("spandrel")
def test_the_radius_is_measured_through_layers_that_work_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = decode_checkpoint(read(odd_tensors(), monkeypatch), "memory")
    assert found.radius == 2
    assert measure_radius(copy.deepcopy(found.generator), bands=3, scale=2) == 2


@pytest.mark.usefixtures("spandrel")
@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        ({"other": torch.zeros(1)}, "spandrel does not build a network from these tensors"),
        ({"first.weight": torch.zeros(1)}, "size mismatch"),
        (odd_tensors() | {"mask": torch.zeros(1)}, "a network for Inpainting (Odd), which needs"),
        (odd_tensors() | {"one.band": torch.zeros(1)}, "a network from 3 to 1 bands (Odd)"),
    ],
)
def test_networks_that_do_not_restore_images_are_refused(
    tensors: dict[str, Tensor], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError) as caught:
        read(tensors, monkeypatch)
    assert found in str(caught.value)
    assert str(caught.value).startswith("s3://b/odd.pth holds ")


@pytest.mark.usefixtures("spandrel")
def test_another_network_than_the_configuration_says_is_refused() -> None:
    generator = SpandrelGenerator(CONFIG.model_copy(update={"scale": 4}))
    with pytest.raises(CheckpointError, match=r"spandrel finds .*scale=2.*; expected .*scale=4"):
        generator.load_state_dict(odd_tensors())


@pytest.mark.usefixtures("spandrel")
def test_without_tensors_there_is_nothing_to_train() -> None:
    with pytest.raises(CheckpointError, match="give init_from"):
        SpandrelGenerator(CONFIG)(torch.rand(1, 3, 4, 4))


def test_without_spandrel_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    for refused in (
        lambda: SpandrelGenerator(CONFIG),
        lambda: recognise(odd_tensors(), "spandrel", {}),
        lambda: read(odd_tensors(), monkeypatch),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'ganray\[spandrel\]'"):
            refused()

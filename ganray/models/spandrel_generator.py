"""Generators of the architectures that spandrel knows, as networks of ganray.

The only module that imports spandrel, an extra: it recognises a network by its tensors, so
that a checkpoint of ganray's needs to hold nothing else. Only networks from image to image.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from ganray.config import Section
from ganray.errors import CheckpointError, MissingExtraError
from ganray.models.padding import pad_to

PREFIX = "network."
# What spandrel's loaders raise on tensors that only look like those of their architecture.
_MISFITS = (RuntimeError, KeyError, ValueError, AttributeError, AssertionError, IndexError)


class SpandrelConfig(Section):
    """What spandrel says of a network; its shape is in its tensors."""

    name: str
    """Spandrel's name of the architecture."""
    bands: Annotated[int, Field(ge=1)]
    """Bands of input and output."""
    scale: Annotated[int, Field(ge=1)]
    """Magnification."""
    alignment: Annotated[int, Field(ge=1)] = 1
    """Pixels that the network's blocks or windows measure."""


class SpandrelGenerator(nn.Module):
    """Degraded (B,C,H,W) in 0-1 to restored (B,C,scale·H,scale·W).

    Holds no network until tensors are loaded.
    """

    def __init__(self, config: SpandrelConfig) -> None:
        super().__init__()
        require_spandrel()
        self.config = config
        self.network: nn.Module = nn.Identity()
        self.descriptor: Any = None

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Build the network whose tensors these are, and load them.

        Raises CheckpointError if spandrel knows none, or another than the configuration says.
        """
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in state_dict.items()}
        descriptor = load_descriptor(tensors)
        found = describe_network(descriptor)
        if found != self.config:
            raise CheckpointError(f"spandrel finds {found}; expected {self.config}")
        self.descriptor = descriptor
        self.network = descriptor.model
        return super().load_state_dict(state_dict, strict, assign)

    def forward(self, degraded_BCHW: Tensor) -> Tensor:
        if self.descriptor is None:
            raise CheckpointError(
                "a generator of architecture spandrel has no random weights to begin with; "
                "expected a checkpoint: give init_from"
            )
        height, width = degraded_BCHW.shape[2:]
        beside, below = self.descriptor.size_requirements.get_padding(width, height)
        padded = pad_to(degraded_BCHW, height + below, width + beside)
        # Spandrel's own call knows no gradients; this is the part that an architecture gives it.
        call: Callable[[nn.Module, Tensor], Tensor] = self.descriptor._call_fn
        scale = self.config.scale
        return call(self.network, padded)[:, :, : scale * height, : scale * width]


def require_spandrel() -> ModuleType:
    """The module spandrel; MissingExtraError names the extra that installs it."""
    try:
        import spandrel  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            "a generator of another architecture than ganray's own needs spandrel "
            f"({error}): pip install 'ganray[spandrel]'"
        ) from error
    module: ModuleType = spandrel
    return module


def load_descriptor(tensors: Mapping[str, Tensor]) -> Any:
    """Spandrel's descriptor of the network with these tensors, which are loaded into it.

    Raises CheckpointError if spandrel knows none, or one that is not from image to image.
    """
    spandrel = require_spandrel()
    try:
        descriptor = spandrel.ModelLoader().load_from_state_dict(dict(tensors))
    except (spandrel.UnsupportedModelError, *_MISFITS) as error:
        raise CheckpointError(
            f"spandrel does not build a network from these tensors ({str(error)[:300]}); "
            "expected those of one of its architectures"
        ) from error
    if not isinstance(descriptor, spandrel.ImageModelDescriptor):
        raise CheckpointError(
            f"spandrel finds a network for {descriptor.purpose} ({descriptor.architecture.id}), "
            "which needs more than an image; expected one from image to image"
        )
    if descriptor.input_channels != descriptor.output_channels:
        raise CheckpointError(
            f"spandrel finds a network from {descriptor.input_channels} to "
            f"{descriptor.output_channels} bands ({descriptor.architecture.id}); expected as many "
            "bands of the output as of the input"
        )
    return descriptor


def describe_network(descriptor: Any) -> SpandrelConfig:
    return SpandrelConfig(
        name=str(descriptor.architecture.id),
        bands=descriptor.input_channels,
        scale=descriptor.scale,
        alignment=descriptor.size_requirements.multiple_of,
    )

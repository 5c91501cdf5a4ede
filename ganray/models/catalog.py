"""The networks that ganray can build, and the trained generators that it ships, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ganray.config import Section, choose
from ganray.models.compact import CompactConfig, CompactGenerator
from ganray.models.discriminator import Discriminator
from ganray.models.patch_discriminator import PatchConfig, PatchDiscriminator
from ganray.models.rrdb import RRDBConfig, RRDBNet
from ganray.models.span import SPAN, SPANConfig
from ganray.models.spandrel_generator import SpandrelConfig, SpandrelGenerator
from ganray.models.srresnet import SRResNet, SRResNetConfig
from ganray.models.unet_discriminator import UNetConfig, UNetDiscriminator
from ganray.models.unet_generator import UNetGenerator, UNetGeneratorConfig
from ganray.models.vgg_discriminator import VGGConfig, VGGDiscriminator


@dataclass(frozen=True)
class Architecture:
    """A network's configuration class and its constructor.

    `narrow` are the options that make the network thin without changing how far it sees, so
    that its receptive field is measured fast; empty if there are none.
    """

    config: type[Section]
    build: Callable[[Any], nn.Module]
    narrow: tuple[str, ...] = ()


GENERATORS = {
    "compact": Architecture(CompactConfig, CompactGenerator, ("num_features",)),
    "rrdb": Architecture(RRDBConfig, RRDBNet, ("num_features", "growth")),
    "srresnet": Architecture(SRResNetConfig, SRResNet, ("num_features",)),
    "span": Architecture(SPANConfig, SPAN, ("num_features",)),
    "unet": Architecture(UNetGeneratorConfig, UNetGenerator, ("num_features",)),
    "spandrel": Architecture(SpandrelConfig, SpandrelGenerator),
}

DISCRIMINATORS = {
    "unet": Architecture(UNetConfig, UNetDiscriminator),
    "patch": Architecture(PatchConfig, PatchDiscriminator),
    "vgg": Architecture(VGGConfig, VGGDiscriminator),
}

SHIPPED = {
    "compact-x2": "compact-x2.safetensors",
    "photo-x2": "photo-x2.safetensors",
    "photo-x4": "photo-x4.safetensors",
    "photo-x1": "photo-x1.safetensors",
    "film-x1": "film-x1.safetensors",
}
"""Trained generators by name: files under ganray/models/weights, a model card beside each."""


def build_discriminator(architecture: str, options: dict[str, Any]) -> Discriminator:
    """A discriminator of random weights; `options` are valid ones of its architecture."""
    choice = DISCRIMINATORS[architecture]
    network = choice.build(choice.config.model_validate(options))
    assert isinstance(network, Discriminator)
    return network


def discriminator_stride(architecture: str, options: dict[str, Any]) -> int:
    """What the sides of a discriminator's images must be multiples of."""
    config: Any = DISCRIMINATORS[architecture].config.model_validate(options)
    return int(config.stride)


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on `device`, its weights in the layout that convolutions like (NHWC)."""
    moved: nn.Module = convert_conv2d_weight_memory_format(network.to(device), torch.channels_last)
    return moved


def shipped_path(name: str) -> Path:
    """The file of a shipped generator; ConfigError lists the known names."""
    filename = SHIPPED[choose("generator", name, list(SHIPPED))]
    return Path(str(files("ganray.models").joinpath("weights", filename)))

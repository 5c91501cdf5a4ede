"""What a network costs: parameters and operations; and the catalog as a table."""

import copy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ganray.models.catalog import DISCRIMINATORS, GENERATORS, Architecture
from ganray.models.checkpoint import Checkpoint, find_radius

SAMPLE_SIDE = 64
"""Of the image that operations are counted on, rounded up to whole blocks of the network."""

NOT_IN_CATALOG = "spandrel"
"""An architecture without a shape of its own: its shape is in a checkpoint's tensors."""


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def count_gflop(
    network: nn.Module, *, channels: int, block: int = 1, device: str = "meta"
) -> float:
    """GFLOP per megapixel of input; a multiplication and its addition are two operations.

    Of convolutions and matrix products, which PyTorch's counter knows. Nothing is computed on the
    device `meta`, where not every third-party network runs.
    """
    side = -(-SAMPLE_SIDE // block) * block
    probe = copy.deepcopy(network).to(device).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        probe(torch.zeros(1, channels, side, side, device=device))
    return counter.get_total_flops() / side**2 / 1000


def checkpoint_gflop(checkpoint: Checkpoint) -> float:
    """GFLOP per megapixel of input of a loaded generator."""
    return count_gflop(
        checkpoint.generator,
        channels=checkpoint.bands + checkpoint.takes_mask,
        block=checkpoint.alignment,
        device="cpu" if checkpoint.architecture == NOT_IN_CATALOG else "meta",
    )


def describe_catalog() -> list[dict[str, Any]]:
    """Every architecture at its default options, generators first.

    `radius` is a generator's receptive field in input pixels; `stride` is what sides of a
    discriminator's images are multiples of.
    """
    names = [name for name in GENERATORS if name != NOT_IN_CATALOG]
    return [
        *(_describe_generator(name) for name in names),
        *(_describe_discriminator(name, choice) for name, choice in DISCRIMINATORS.items()),
    ]


def _describe_generator(name: str) -> dict[str, Any]:
    choice = GENERATORS[name]
    config = choice.config()
    with torch.device("meta"):
        network = choice.build(config)
    values = config.model_dump()
    block = int(getattr(config, "alignment", 1))
    return {
        "role": "generator",
        "architecture": name,
        "scale": values["scale"],
        "parameters": count_parameters(network),
        "gflop_per_input_mpixel": count_gflop(network, channels=values["bands"], block=block),
        "radius": find_radius(network, name, config),
        "stride": None,
        "options": sorted(values),
    }


def _describe_discriminator(name: str, choice: Architecture) -> dict[str, Any]:
    config = choice.config()
    with torch.device("meta"):
        network = choice.build(config)
    values = config.model_dump()
    stride = int(getattr(config, "stride", 1))
    return {
        "role": "discriminator",
        "architecture": name,
        "scale": None,
        "parameters": count_parameters(network),
        "gflop_per_input_mpixel": count_gflop(network, channels=values["bands"], block=stride),
        "radius": None,
        "stride": stride,
        "options": sorted(values),
    }

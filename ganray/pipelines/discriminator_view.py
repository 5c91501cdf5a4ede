"""What the discriminator of a training makes of an image, pixel by pixel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch.nn import functional as F

from ganray.config import build_config
from ganray.errors import ConfigError, NotFoundError
from ganray.models.catalog import build_discriminator, discriminator_stride
from ganray.models.discriminator import Discriminator
from ganray.models.spectral import normalise_spectrally
from ganray.pipelines.train_checkpoints import find_checkpoint
from ganray.raster.image import FloatPixels
from ganray.storage import Store, open_store, split_uri
from ganray.training.config import DiscriminatorConfig
from ganray.training.state import restore_discriminator

CONFIG_KEY = "config.yaml"
CORE_PIXELS = 768
HALO_PIXELS = 128
"""Of a tile that is judged at once; in it a U-Net sees all that it can."""


@dataclass(frozen=True)
class LoadedDiscriminator:
    """A trained discriminator, where it stands, and what sides must be multiples of."""

    network: Discriminator
    source: str
    stride: int


def load_discriminator(uri: str, bands: int) -> LoadedDiscriminator:
    """The discriminator of a training's output, or of one of its states (.pt).

    Raises ConfigError where there is none, CheckpointError where it does not fit.
    """
    folder = uri
    if uri.endswith(".pt"):
        checkpoints, name = split_uri(uri)
        folder, prefix = split_uri(checkpoints)
    store = open_store(folder)
    values = _read_config(store)
    if uri.endswith(".pt"):
        key, data = f"{prefix}/{name}", store.read(f"{prefix}/{name}")
    elif (found := find_checkpoint(store)) is not None:
        key, data = found.key, found.data
    else:
        raise ConfigError(f"{uri} holds no checkpoint; expected the output of a training")
    config = build_config(DiscriminatorConfig, values.get("discriminator", {}))
    options = {"bands": bands} | config.options
    if options["bands"] != bands:
        raise ConfigError(
            f"the discriminator of {uri} judges {options['bands']} bands and the generator gives "
            f"{bands}; name the training of this generator"
        )
    network = build_discriminator(config.architecture, options)
    if values.get("adversarial", {}).get("spectral_norm"):
        normalise_spectrally(network)
    source = f"{store.uri}/{key}"
    restore_discriminator(network, data, source)
    stride = discriminator_stride(config.architecture, options)
    return LoadedDiscriminator(network.eval(), source, stride)


def _read_config(store: Store) -> dict[str, Any]:
    try:
        values = yaml.safe_load(store.read(CONFIG_KEY).decode())
    except (NotFoundError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{store.uri} has no {CONFIG_KEY} that can be read ({error}); expected the output of "
            "a training, or a state in its checkpoints/"
        ) from error
    return values if isinstance(values, dict) else {}


def judge(discriminator: LoadedDiscriminator, pixels: FloatPixels) -> NDArray[np.float32]:
    """The logits (H,W) of pixels (C,H,W) in 0-1, tile by tile: higher looks more real.

    A discriminator with fewer logits than pixels says the same of neighbours.
    """
    _, height, width = pixels.shape
    judged = np.empty((height, width), np.float32)
    for top in range(0, height, CORE_PIXELS):
        for left in range(0, width, CORE_PIXELS):
            rows, columns = _read_span(top, height), _read_span(left, width)
            found = _judge_tile(discriminator, pixels[:, slice(*rows), slice(*columns)])
            core = found[top - rows[0] :, left - columns[0] :][:CORE_PIXELS, :CORE_PIXELS]
            judged[top : top + CORE_PIXELS, left : left + CORE_PIXELS] = core
    return judged


def _read_span(start: int, length: int) -> tuple[int, int]:
    return max(0, start - HALO_PIXELS), min(length, start + CORE_PIXELS + HALO_PIXELS)


def _judge_tile(discriminator: LoadedDiscriminator, tile: FloatPixels) -> NDArray[np.float32]:
    _, height, width = tile.shape
    stride = discriminator.stride
    images = torch.from_numpy(np.ascontiguousarray(tile))[None]
    padded = F.pad(images, (0, -width % stride, 0, -height % stride), mode="replicate")
    with torch.inference_mode():
        logits = discriminator.network(padded)
        whole = F.interpolate(logits, size=padded.shape[2:], mode="nearest")
    found: NDArray[np.float32] = whole[0, 0, :height, :width].numpy()
    return found

"""Checkpoints: safetensors whose metadata says everything needed to build and use the network.

A third-party file of weights is converted to this format where it is read, so that nothing
else needs to know of it.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Annotated, Any

import safetensors
import safetensors.torch
import torch
from pydantic import Field, model_validator
from torch import nn

from ganray import __version__
from ganray.config import Section, build_config, choose
from ganray.errors import CheckpointError, ConfigError
from ganray.models.catalog import GENERATORS, SHIPPED, shipped_path
from ganray.models.conversion import Source, blend, convert
from ganray.models.foreign_keys import READERS
from ganray.models.header import FORMAT, is_own, read_metadata
from ganray.models.radius import measure_radius
from ganray.storage import read_uri

VALUE_RANGE = (0.0, 1.0)


@dataclass(frozen=True)
class Checkpoint:
    """A generator with all that a restoration must know about it.

    `digest` names the network and its weights, wherever they come from; `trained_on` and
    `training` are the provenance that the training job wrote.
    """

    generator: nn.Module = field(repr=False)
    architecture: str
    network: Section
    bands: int
    scale: int
    radius: int
    value_range: tuple[float, float]
    trained_on: str
    training: dict[str, Any]
    digest: str
    version: str

    @property
    def alignment(self) -> int:
        """Patches must begin at multiples of so many pixels to be seen as in the whole image."""
        return _alignment(self.network)

    @property
    def takes_mask(self) -> bool:
        """Whether the network's last input channel is a mask of lost pixels."""
        return _takes_mask(self.network)

    @property
    def is_foreign(self) -> bool:
        """Whether it was made of other files: converted from a third-party one, or blended."""
        return not self.training.keys().isdisjoint(("source_sha256", "blend"))


@dataclass(frozen=True)
class Provenance:
    """What a checkpoint says of its own making."""

    trained_on: str
    training: dict[str, Any]


class ReadingConfig(Section):
    """How a third-party generator is read, where its tensors do not say all."""

    architecture: str = "auto"
    """Architecture of its network: auto, compact, rrdb, span, srresnet, or spandrel for any
    other."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of its network that win over those inferred, as {scale: 4}."""
    blend: str = ""
    """File or URI of a second generator of the same network, to blend with; empty for none."""
    blend_weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Weight of the generator in the blend; the rest is that of `blend`."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "ReadingConfig":
        known = ("auto", *READERS, "spandrel")
        if self.architecture not in known:
            raise ValueError(f"architecture {self.architecture!r} is none of {', '.join(known)}")
        if self.blend_weight != 1 and not self.blend:
            raise ValueError(f"blend_weight {self.blend_weight} needs a second generator: blend")
        return self


AS_FOUND = ReadingConfig()


def build_generator(architecture: str, values: dict[str, Any]) -> tuple[nn.Module, Section]:
    """A generator of random weights, with its validated configuration."""
    choice = GENERATORS[choose("generator", architecture, list(GENERATORS))]
    network = build_config(choice.config, values)
    return choice.build(network), network


def encode_checkpoint(
    generator: nn.Module, architecture: str, network: Section, provenance: Provenance
) -> bytes:
    """Serialise a generator; its receptive-field radius is measured here."""
    values = network.model_dump(mode="json")
    metadata = {
        "format": FORMAT,
        "architecture": architecture,
        "network": values,
        "scale": values["scale"],
        "bands": values["bands"],
        "receptive_field_radius": find_radius(generator, architecture, network),
        "value_range": VALUE_RANGE,
        "trained_on": provenance.trained_on,
        "training": provenance.training,
        "ganray_version": __version__,
    }
    # Copies, because safetensors refuses tensors that share their memory.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in generator.state_dict().items()
    }
    # One entry: safetensors writes several in any order, and equal weights must have one digest.
    return safetensors.torch.save(tensors, {"ganray": json.dumps(metadata)})


def find_radius(generator: nn.Module, architecture: str, network: Section) -> int:
    """Receptive-field radius in input pixels.

    Measured on a narrow twin where there is one: widths do not change how far it sees."""
    choice = GENERATORS[architecture]
    values = network.model_dump()
    bands, scale = values["bands"] + _takes_mask(network), values["scale"]
    if not choice.narrow:
        return measure_radius(generator, bands=bands, scale=scale)
    twin = choice.build(build_config(choice.config, values | dict.fromkeys(choice.narrow, 1)))
    return measure_radius(twin, bands=bands, scale=scale, num_positions=_alignment(network))


def _alignment(network: Section) -> int:
    """Side of the pixel blocks that a network works on."""
    return int(getattr(network, "alignment", 1))


def _takes_mask(network: Section) -> bool:
    return bool(getattr(network, "mask", False))


def decode_checkpoint(data: bytes, source: str) -> Checkpoint:
    """Read what `encode_checkpoint` wrote; `source` names the file in errors.

    Raises CheckpointError, saying what was found, for any other file.
    """
    metadata = read_metadata(data, source)
    try:
        generator, network = build_generator(metadata["architecture"], metadata["network"])
        _load_tensors(generator, data, source)
        low, high = metadata["value_range"]
        if (low, high) != VALUE_RANGE:
            raise CheckpointError(f"{source} works on values from {low} to {high}; expected 0 to 1")
        return Checkpoint(
            generator=generator.eval(),
            architecture=metadata["architecture"],
            network=network,
            bands=metadata["bands"],
            scale=metadata["scale"],
            radius=metadata["receptive_field_radius"],
            value_range=(low, high),
            trained_on=metadata["trained_on"],
            training=metadata["training"],
            digest=digest_generator(generator, metadata["architecture"], network),
            version=metadata["ganray_version"],
        )
    except KeyError as error:
        raise CheckpointError(
            f"{source} lacks {error} in its metadata; expected all keys of {FORMAT}"
        ) from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{source} has metadata of the wrong kind ({error}); expected those of {FORMAT}"
        ) from error
    except ConfigError as error:
        raise CheckpointError(
            f"{source} names a network that ganray {__version__} does not build: {error}"
        ) from error


def load_checkpoint(generator: str, reading: ReadingConfig = AS_FOUND) -> Checkpoint:
    """Load a generator by catalog name, path or URI."""
    return decode_checkpoint(read_checkpoint(generator, reading), generator)


def read_checkpoint(generator: str, reading: ReadingConfig = AS_FOUND) -> bytes:
    """The checkpoint behind a catalog name, path or URI, in ganray's format.

    A file of ganray's comes byte for byte. Any other is converted, always to the same bytes.
    A bare word that is no file's name is looked up in the catalog, so that a misspelt name
    is answered with the known ones. Raises CheckpointError, ConfigError, MissingExtraError or
    StorageError.
    """
    data = _read_bytes(generator)
    if is_own(data) and not reading.blend:
        _require_nothing_to_tell(generator, reading)
        return data
    source = _read_source(data, generator, reading)
    if reading.blend:
        second = _read_source(_read_bytes(reading.blend), reading.blend, reading)
        source = blend(source, second, reading.blend_weight)
    return _encode_source(source, generator, reading)


def _read_bytes(generator: str) -> bytes:
    if is_catalog_name(generator):
        return shipped_path(generator).read_bytes()
    return read_uri(generator)


def _read_source(data: bytes, generator: str, reading: ReadingConfig) -> Source:
    if not is_own(data):
        return convert(data, generator, reading.architecture, reading.options)
    _require_nothing_to_tell(generator, reading)
    own = decode_checkpoint(data, generator)
    return Source(
        architecture=own.architecture,
        options=own.network.model_dump(mode="json"),
        tensors=own.generator.state_dict(),
        trained_on=own.trained_on,
        training=own.training,
    )


def _require_nothing_to_tell(generator: str, reading: ReadingConfig) -> None:
    if reading.architecture != "auto" or reading.options:
        raise ConfigError(
            f"{generator} is a checkpoint of ganray's, which says itself what it is; leave "
            "architecture and options out"
        )


def _encode_source(source: Source, generator: str, reading: ReadingConfig) -> bytes:
    try:
        network, config = build_generator(source.architecture, source.options)
    except ConfigError as error:
        if reading.options:
            raise
        raise CheckpointError(
            f"{generator} holds a variant of {source.architecture} that ganray does not build: "
            f"{error}"
        ) from error
    try:
        network.load_state_dict(source.tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{generator} does not fit {source.architecture} with {source.options}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    provenance = Provenance(source.trained_on, source.training)
    return encode_checkpoint(network, source.architecture, config, provenance)


def is_catalog_name(generator: str) -> bool:
    """Whether it is a name of the catalog, or a bare word that should have been one."""
    return generator in SHIPPED or not any(mark in generator for mark in "/\\.")


def digest_generator(generator: nn.Module, architecture: str, network: Section) -> str:
    """16 hex digits that name a network with its weights, and nothing of its provenance.

    A third-party file that is renamed, or converted by a later version, is the same generator.
    """
    # Networks of a time before masks keep their digest, and what they restored stays done.
    absent = None if _takes_mask(network) else {"mask"}
    digest = hashlib.sha256(f"{architecture} {network.model_dump_json(exclude=absent)}".encode())
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _load_tensors(generator: nn.Module, data: bytes, source: str) -> None:
    try:
        generator.load_state_dict(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{source} ({len(data)} bytes) is damaged or truncated: {error}; copy it again"
        ) from error
    except RuntimeError as error:
        raise CheckpointError(f"{source} does not hold the network it names: {error}") from error

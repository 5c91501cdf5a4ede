"""Checkpoints: safetensors whose metadata says everything needed to build and use the network.

Only ganray's own files are read. A pickle is never opened: it can run code.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from ganray import __version__
from ganray.config import Section, build_config, choose
from ganray.errors import CheckpointError, ConfigError
from ganray.models.catalog import GENERATORS, SHIPPED, shipped_path
from ganray.models.radius import measure_radius
from ganray.storage import read_uri

FORMAT = "ganray-checkpoint-1"
VALUE_RANGE = (0.0, 1.0)


@dataclass(frozen=True)
class Checkpoint:
    """A generator with all that a restoration must know about it.

    `digest` names the file's content; `trained_on` and `training` are the provenance that the
    training job wrote.
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


@dataclass(frozen=True)
class Provenance:
    """What a checkpoint says of its own making."""

    trained_on: str
    training: dict[str, Any]


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
        "receptive_field_radius": measure_radius(
            generator, bands=values["bands"], scale=values["scale"]
        ),
        "value_range": VALUE_RANGE,
        "trained_on": provenance.trained_on,
        "training": provenance.training,
        "ganray_version": __version__,
    }
    tensors = {name: t.detach().cpu().contiguous() for name, t in generator.state_dict().items()}
    # One entry: safetensors writes several in any order, and equal weights must have one digest.
    return safetensors.torch.save(tensors, {"ganray": json.dumps(metadata)})


def decode_checkpoint(data: bytes, source: str) -> Checkpoint:
    """Read what `encode_checkpoint` wrote; `source` names the file in errors.

    Raises CheckpointError, saying what was found, for any other file.
    """
    metadata = _read_metadata(data, source)
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
            digest=digest_bytes(data),
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


def load_checkpoint(generator: str) -> Checkpoint:
    """Load a generator by catalog name, path or URI."""
    return decode_checkpoint(read_checkpoint(generator), generator)


def read_checkpoint(generator: str) -> bytes:
    """The bytes behind a catalog name, path or URI.

    A bare word that is no file's name is looked up in the catalog, so that a misspelt name
    is answered with the known ones.
    """
    if is_catalog_name(generator):
        return shipped_path(generator).read_bytes()
    return read_uri(generator)


def is_catalog_name(generator: str) -> bool:
    """Whether it is a name of the catalog, or a bare word that should have been one."""
    return generator in SHIPPED or not any(mark in generator for mark in "/\\.")


def digest_bytes(data: bytes) -> str:
    """16 hex digits that name a checkpoint's content."""
    return hashlib.sha256(data).hexdigest()[:16]


def _read_metadata(data: bytes, source: str) -> dict[str, Any]:
    found = _foreign_kind(data)
    if found:
        raise CheckpointError(
            f"{source} is {found}; expected a safetensors checkpoint written by ganray train"
        )
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        content = json.loads(header.get("__metadata__", {}).get("ganray", "{}"))
    except (ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{source} ({len(data)} bytes) has no readable safetensors header; expected a "
            "checkpoint written by ganray train"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        names = sorted(set(header) - {"__metadata__"})
        raise CheckpointError(
            f"{source} is a safetensors file with {len(names)} tensors ({', '.join(names[:3])}, "
            "…) and without ganray's metadata; expected one written by ganray train"
        )
    return content


def _foreign_kind(data: bytes) -> str:
    """What a file that is surely no safetensors is, in words; empty if it may be one."""
    if not data:
        return "an empty file"
    if data.startswith(b"PK\x03\x04"):
        return "a zip archive, as torch.save writes: a pickle, which can run code"
    # Asked first: the header's length, in eight bytes, may begin as a pickle does.
    if data[5:9] == b"\0\0\0{":
        return ""
    if data[:1] == b"\x80":
        return "a pickle, which can run code"
    return f"no safetensors (its first bytes are {data[:8]!r})"


def _load_tensors(generator: nn.Module, data: bytes, source: str) -> None:
    try:
        generator.load_state_dict(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{source} ({len(data)} bytes) is damaged or truncated: {error}; copy it again"
        ) from error
    except RuntimeError as error:
        raise CheckpointError(f"{source} does not hold the network it names: {error}") from error

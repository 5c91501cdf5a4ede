"""Third-party generators as networks of ganray: recognised, checked, blended.

Nothing is built or written here; `checkpoint.py` does both.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from ganray.errors import CheckpointError, MissingExtraError
from ganray.models.foreign import Tensors, describe_tensors, open_weights
from ganray.models.foreign_keys import READERS, Recognised, recognise


@dataclass(frozen=True)
class Source:
    """A generator as a file holds it: network, tensors by ganray's names, and provenance."""

    architecture: str
    options: dict[str, Any]
    tensors: Tensors
    trained_on: str
    training: dict[str, Any]


def convert(data: bytes, uri: str, architecture: str, options: Mapping[str, Any]) -> Source:
    """Read a third-party file; `uri` names it in errors, and its last part in the provenance.

    `architecture` may be auto; `options` win over those inferred. Raises CheckpointError, or
    MissingExtraError where spandrel might know the network.
    """
    weights = open_weights(data, uri)
    try:
        found = recognise(weights.tensors, architecture, options)
    except (CheckpointError, MissingExtraError) as error:
        raise type(error)(_unknown(uri, weights.tensors, list(READERS)) + f"; {error}") from error
    if found is None:
        raise CheckpointError(
            _unknown(uri, weights.tensors, [architecture])
            + "; leave the architecture out to have it recognised"
        )
    name = PurePosixPath(uri).name
    return Source(
        architecture=found.architecture,
        options=found.options | dict(options),
        tensors=found.tensors,
        trained_on=f"unknown: third-party file {name}",
        training=_origin(found, name, weights.wrapper, data),
    )


def blend(first: Source, second: Source, weight: float) -> Source:
    """weight·first + (1 − weight)·second, tensor by tensor; integer buffers are the first's.

    Raises CheckpointError that names the first tensor in which they differ.
    """
    _require_same_tensors(first, second)
    tensors = {
        name: tensor.lerp(second.tensors[name], 1 - weight)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.tensors.items()
    }
    return Source(
        architecture=first.architecture,
        options=first.options,
        tensors=tensors,
        trained_on=f"{weight} of ({first.trained_on}), {1 - weight:g} of ({second.trained_on})",
        training=first.training | {"blend_weight": weight, "blend": second.training},
    )


def _unknown(uri: str, tensors: Tensors, known: list[str]) -> str:
    expected = known[0] if len(known) == 1 else f"one of {', '.join(known)}"
    return f"{uri} holds {describe_tensors(tensors)}; expected those of {expected}"


def _origin(found: Recognised, name: str, wrapper: str, data: bytes) -> dict[str, Any]:
    """What the converted checkpoint says of the file; never where it stood."""
    origin = {
        "source_file": name,
        "source_sha256": hashlib.sha256(data).hexdigest(),
        "naming": found.naming,
        "wrapper": wrapper or "none",
    }
    return origin | ({"note": found.note} if found.note else {})


def _require_same_tensors(first: Source, second: Source) -> None:
    shapes = [{n: tuple(t.shape) for n, t in s.tensors.items()} for s in (first, second)]
    for name in sorted(shapes[0].keys() | shapes[1].keys()):
        here, there = (shape.get(name, "absent") for shape in shapes)
        if here != there:
            raise CheckpointError(
                f"the two generators to blend differ in {name}: {here} ({first.trained_on}) and "
                f"{there} ({second.trained_on}); expected the same network twice"
            )

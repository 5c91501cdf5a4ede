"""Third-party files of weights: what tensors they hold, without running what else they hold.

Files of torch.save go through PyTorch's restricted reader alone, which knows tensors, numbers,
strings and their containers. Which network the tensors make up is the matter of
`foreign_keys.py`.
"""

import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ganray.errors import CheckpointError
from ganray.models.header import file_kind

Tensors = dict[str, Tensor]

WRAPPERS = (
    "params_ema",
    "params",
    "params-ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
)
"""Keys under which the field stores a generator's tensors, the best first."""

WHOLE_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""

GENERATOR_PREFIXES = ("netG.", "generator.")
"""What stands before a generator's names in a file that may hold both players."""

DISCRIMINATOR_PREFIXES = ("netD.", "discriminator.")
SPECTRAL_NORM = (".weight_orig", ".weight_u")
WEIGHTS = ("weight", "bias")


@dataclass(frozen=True)
class Weights:
    """The floating tensors (float32) and buffers of a third-party file, by their names there.

    `wrapper` is the key under which they stood; empty without one.
    """

    tensors: Tensors
    wrapper: str


def open_weights(data: bytes, source: str) -> Weights:
    """The tensors of a generator in a file of safetensors or torch.save.

    `source` names the file in errors. Raises CheckpointError, saying what was found, for code,
    damage, other content, and weights that are no finite floating numbers.
    """
    content = _open_content(data, source)
    found, wrapper = _unwrap(content, source)
    tensors = _strip_prefixes(found)
    _require_generator(tensors, source)
    for name, tensor in tensors.items():
        _require_weights(name, tensor, source)
    return Weights({name: _as_float32(tensor) for name, tensor in tensors.items()}, wrapper)


def describe_tensors(tensors: Mapping[str, Tensor]) -> str:
    """How many there are and the first of them, in words."""
    shapes = [f"{name} {_shape(tensor)}" for name, tensor in tensors.items()]
    more = ", …" if len(shapes) > 3 else ""
    number = "1 tensor" if len(shapes) == 1 else f"{len(shapes)} tensors"
    return f"{number} ({', '.join(shapes[:3])}{more})"


def _open_content(data: bytes, source: str) -> Any:
    kind = file_kind(data)
    if kind == "safetensors":
        return _open_safetensors(data, source)
    if kind == "torch":
        return _open_pickle(data, source)
    raise CheckpointError(f"{source} is {kind}; expected a network's weights in one of these")


def _open_safetensors(data: bytes, source: str) -> Tensors:
    try:
        return dict(safetensors.torch.load(data))
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{source} ({len(data)} bytes) is damaged or truncated: {error}; copy it again"
        ) from error


def _open_pickle(data: bytes, source: str) -> Any:
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{source} may run code when it is opened{_culprit(error)}, and was not opened; "
            "expected tensors, numbers and strings only. Load it where it can do no harm and "
            "save its tensors by safetensors.torch.save_file(state_dict, 'generator.safetensors')"
        ) from error
    except Exception as error:  # PyTorch raises whatever the damaged byte leads to.
        raise CheckpointError(
            f"{source} ({len(data)} bytes) is damaged, truncated, or no file of torch.save: "
            f"{_first_line(error)}; copy it again"
        ) from error


def _culprit(error: Exception) -> str:
    """What PyTorch refused: a name, or a byte that may as well be damage."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f" (it names {found[1]})" if found else " or is damaged"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _unwrap(content: Any, source: str) -> tuple[Tensors, str]:
    """The tensors of the first wrapper that has any, or of the bare dictionary."""
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{source} holds a {type(content).__name__}; expected a dictionary of a generator's "
            "tensors"
        )
    for wrapper in WRAPPERS:
        tensors = _tensors_of(content.get(wrapper))
        if tensors:
            return tensors, wrapper
    tensors = _tensors_of(content)
    if not tensors:
        keys = ", ".join(str(key) for key in list(content)[:6]) or "nothing"
        raise CheckpointError(
            f"{source} holds {keys} and no tensors of a generator; expected them under one of "
            f"{', '.join(WRAPPERS)}, or bare"
        )
    return tensors, ""


def _tensors_of(content: Any) -> Tensors:
    if not isinstance(content, Mapping):
        return {}
    return {str(k): v.detach() for k, v in content.items() if isinstance(v, Tensor)}


def _strip_prefixes(tensors: Tensors) -> Tensors:
    """Names without what trainers put before them; other players' tensors are left out."""
    stripped = tensors
    for prefix in WHOLE_PREFIXES:
        if all(name.startswith(prefix) for name in stripped):
            stripped = _without(prefix, stripped)
    for prefix in GENERATOR_PREFIXES:
        if any(name.startswith(prefix) for name in stripped):
            stripped = _without(prefix, stripped)
    return stripped if stripped.keys() == tensors.keys() else _strip_prefixes(stripped)


def _without(prefix: str, tensors: Tensors) -> Tensors:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _require_generator(tensors: Tensors, source: str) -> None:
    alone = all(name.startswith(DISCRIMINATOR_PREFIXES) for name in tensors)
    if alone or any(name.endswith(SPECTRAL_NORM) for name in tensors):
        raise CheckpointError(
            f"{source} holds a discriminator, by its {describe_tensors(tensors)}; expected a "
            "generator, which the same publisher offers in another file"
        )


def _require_weights(name: str, tensor: Tensor, source: str) -> None:
    """Refuse what cannot be a trained weight: integers, packed layouts, NaN, infinity."""
    packed = tensor.layout is not torch.strided or tensor.is_quantized
    if packed or (name.endswith(WEIGHTS) and not tensor.is_floating_point()):
        kind = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{source} holds {name} {_shape(tensor)} as {kind}, {str(tensor.layout)[6:]}; expected "
            "floating weights: look for the file before quantisation"
        )
    if not tensor.numel():
        raise CheckpointError(f"{source} holds {name} {_shape(tensor)}; expected no empty tensor")
    if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
        raise CheckpointError(
            f"{source} holds NaN or infinity in {name} {_shape(tensor)}; expected finite weights: "
            "its training diverged, or it is damaged"
        )


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float().contiguous() if tensor.is_floating_point() else tensor


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))

"""The state of a training: two networks, the averaged generator, two optimizers, the step.

Nothing in the loop draws random numbers: samples and their noise follow from (seed, sample
index), so that the step number is the whole data position and random state.
"""

import copy
import hashlib
import io
import pickle
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ganray.errors import CheckpointError, DamagedError
from ganray.models.discriminator import Discriminator

BETAS = (0.9, 0.99)
MAGIC = b"ganray training state 1\n"
DIGEST_BYTES = hashlib.sha256().digest_size

# What torch raises on bytes that are no state, or the state of something else.
_DAMAGE = (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError)

Snapshot = dict[str, Any]
"""A state in host memory: tensors, numbers and strings."""


@dataclass
class TrainingState:
    """Everything that an interrupted training needs to go on bit by bit, up to a rollback.

    The states to roll back to are not in it: after a resume the first of them is this one.

    `monitor` is what the stability monitor remembers: plain numbers, lists and strings.
    """

    generator: nn.Module
    discriminator: Discriminator
    generator_ema: nn.Module
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    step: int = 0
    monitor: dict[str, Any] = field(default_factory=dict)

    def update_ema(self, decay: float) -> None:
        """θ_ema ← decay·θ_ema + (1 − decay)·θ."""
        with torch.no_grad():
            weights = self.generator.parameters()
            for average, weight in zip(self.generator_ema.parameters(), weights, strict=True):
                average.lerp_(weight, 1 - decay)
            # Running statistics of batch norms are averages already.
            buffers = self.generator.buffers()
            for kept, buffer in zip(self.generator_ema.buffers(), buffers, strict=True):
                kept.copy_(buffer)


def new_state(generator: nn.Module, discriminator: Discriminator) -> TrainingState:
    """A state at step 0, on the networks' device.

    Batch norm keeps the statistics that it came with: means over a batch would depend on how many
    workers share it.
    """
    for module in generator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return TrainingState(
        generator=generator,
        discriminator=discriminator,
        generator_ema=copy.deepcopy(generator).requires_grad_(False).eval(),
        generator_optimizer=torch.optim.Adam(generator.parameters(), betas=BETAS),
        discriminator_optimizer=torch.optim.Adam(discriminator.parameters(), betas=BETAS),
    )


def take_snapshot(state: TrainingState) -> Snapshot:
    """A copy in host memory, which later steps do not change."""
    copied: Snapshot = _on_host({"step": state.step, "monitor": state.monitor, **_parts(state)})
    return copied


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """MAGIC, the SHA-256 of what follows, and what torch.save makes of it."""
    buffer = io.BytesIO()
    begin = len(MAGIC) + DIGEST_BYTES
    buffer.write(bytes(begin))
    torch.save(snapshot, buffer)
    header = MAGIC + hashlib.sha256(buffer.getbuffer()[begin:]).digest()
    buffer.seek(0)
    buffer.write(header)
    return buffer.getvalue()


def encode_state(state: TrainingState) -> bytes:
    """A state as bytes that tell whether they are whole."""
    return encode_snapshot(take_snapshot(state))


def require_whole(data: bytes, source: str) -> None:
    """Raise DamagedError unless `data` is what `encode_state` wrote, to the last bit."""
    digest = data[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]
    if not data.startswith(MAGIC):
        found = f"it begins with {data[: len(MAGIC)]!r}, expected {MAGIC!r}"
    elif hashlib.sha256(memoryview(data)[len(MAGIC) + DIGEST_BYTES :]).digest() != digest:
        found = f"its {len(data)} bytes have another checksum than it says"
    else:
        return
    raise DamagedError(
        f"{source} is no training state that is whole: {found}. Copy it again, or set "
        "resume=false to start anew"
    )


def restore_state(state: TrainingState, data: bytes, source: str) -> None:
    """Load what `encode_state` wrote into a fresh state of the same configuration.

    Raises DamagedError if `data` is not whole, CheckpointError if it belongs to other networks.
    """
    require_whole(data, source)
    try:
        saved = _decode(data)
        for name in _parts(state):
            getattr(state, name).load_state_dict(saved[name])
        state.step, state.monitor = saved["step"], saved["monitor"]
    except _DAMAGE as error:
        raise CheckpointError(
            f"{source} is no training state of this configuration: {str(error)[:300]}. Choose "
            "another output, or set resume=false to start anew"
        ) from error


def restore_discriminator(discriminator: Discriminator, data: bytes, source: str) -> None:
    """Load the discriminator alone out of what `encode_state` wrote.

    Raises DamagedError if `data` is not whole, CheckpointError if it holds another network.
    """
    require_whole(data, source)
    try:
        discriminator.load_state_dict(_decode(data)["discriminator"])
    except _DAMAGE as error:
        raise CheckpointError(
            f"{source} holds another discriminator than its config.yaml names: {str(error)[:300]}"
        ) from error


def _decode(data: bytes) -> Snapshot:
    payload = memoryview(data)[len(MAGIC) + DIGEST_BYTES :]
    saved: Snapshot = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return saved


def learning_parts(state: TrainingState) -> dict[str, nn.Module | torch.optim.Optimizer]:
    """The networks and optimizers of a state, each of which has a `state_dict`."""
    names = (
        "generator",
        "discriminator",
        "generator_ema",
        "generator_optimizer",
        "discriminator_optimizer",
    )
    return {name: getattr(state, name) for name in names}


def _parts(state: TrainingState) -> dict[str, dict[str, Any]]:
    return {name: part.state_dict() for name, part in learning_parts(state).items()}


def _on_host(value: Any) -> Any:
    """A copy of nested dictionaries and lists, whose tensors lie in host memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        # Not a new one: a module's carries the versions of its parts as an attribute.
        copied = copy.copy(value)
        copied.update((key, _on_host(item)) for key, item in value.items())
        return copied
    if isinstance(value, list | tuple):
        return type(value)(_on_host(item) for item in value)
    return value

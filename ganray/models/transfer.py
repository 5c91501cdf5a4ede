"""The weights of one generator as the start of another, and a report of what became of them.

Same name and shape is copied. The convolutions at both ends are adapted to other bands, masks and
scales by linear maps of their channels, hidden ones to other widths by their overlap. What fits
nowhere stays as random as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganray.errors import CheckpointError
from ganray.models.checkpoint import Checkpoint
from ganray.models.layout import Layout

SHOWN_NAMES = 4


@dataclass(frozen=True)
class Transfer:
    """What became of every tensor: `copied`, `adapted` and `left` are those of the new network,
    `unused` those of the checkpoint. `changes` says in words how the ends were adapted."""

    copied: tuple[str, ...]
    adapted: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]
    changes: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether the network now is the checkpoint's."""
        return not (self.adapted or self.left or self.unused)

    def __str__(self) -> str:
        """One sentence, with the first names of each kind."""
        if self.is_exact:
            return f"all {len(self.copied)} tensors copied"
        kinds = (
            (self.adapted, "adapted"),
            (self.left, "left at their random start"),
            (self.unused, "of the checkpoint unused"),
        )
        parts = [f"{len(self.copied)} tensors copied"]
        parts += [f"{len(names)} {words} ({_list(names)})" for names, words in kinds if names]
        return "; ".join([", ".join(parts), *self.changes])


@dataclass(frozen=True)
class _Ends:
    """How channels at the ends of one network are made of another's: matrices (new, old)."""

    into: Tensor
    out_of: Tensor


def transfer(start: Checkpoint, generator: nn.Module) -> Transfer:
    """Bring what fits of `start` into `generator`, in place.

    Raises CheckpointError, with nothing changed, if not one convolution fits.
    """
    old = _tensors_of(start.generator)
    new = _tensors_of(generator)
    before, after = _layouts(start.generator, generator)
    if before and after:
        old = {_renamed(name, before.last, after.last): tensor for name, tensor in old.items()}
    ends = _connect(before, after) if before and after else None
    copied, adapted = {}, {}
    for name, tensor in new.items():
        found = old.get(name)
        if found is None:
            continue
        if found.shape == tensor.shape and not _needs_change(name, before, after):
            copied[name] = found
        elif after and ends and (fitted := _fit(name, found, tensor, after, ends)) is not None:
            adapted[name] = fitted
    _require_convolutions(copied | adapted, start, generator)
    generator.load_state_dict(new | copied | adapted)
    return Transfer(
        copied=tuple(copied),
        adapted=tuple(adapted),
        left=tuple(new.keys() - copied.keys() - adapted.keys() and _others(new, copied, adapted)),
        unused=_others(old, copied, adapted),
        changes=_describe_changes(before, after) if before and after else (),
    )

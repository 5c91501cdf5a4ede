"""The weights of one generator as the start of another, and a report of what became of them.

Same name and shape is copied. The convolutions at both ends are adapted to other bands, masks and
scales by linear maps of their channels, hidden ones to other widths by their overlap. What fits
nowhere stays as random as it was. Nothing is trained here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganray.errors import CheckpointError
from ganray.models.channels import (
    describe_changes,
    map_inputs,
    map_outputs,
    with_mean,
    without_mean,
)
from ganray.models.checkpoint import Checkpoint
from ganray.models.foreign import describe_tensors
from ganray.models.layout import Layout

SHOWN_NAMES = 3


@dataclass(frozen=True)
class Transfer:
    """What became of every tensor: `copied`, `adapted` and `left` are those of the new network,
    `unused` those of the checkpoint. `changes` says in words what its ends were adapted to."""

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
        counts = [f"{len(names)} {words} ({_list(names)})" for names, words in kinds if names]
        return "; ".join([f"{len(self.copied)} tensors copied", *counts, *self.changes])


def transfer(start: Checkpoint, generator: nn.Module) -> Transfer:
    """Bring what fits of `start` into `generator`, in place.

    Raises CheckpointError, with nothing changed, if no convolution of it fits.
    """
    old, new = start.generator.state_dict(), generator.state_dict()
    if not new:
        # A network whose shape is in its tensors takes them whole, or refuses them.
        generator.load_state_dict(old)
        return Transfer(tuple(old), (), (), ())
    join = _join(start.generator, generator)
    used, fitted = _fit_all(old, new, join)
    if not any(value.ndim == 4 for value in fitted.values()):
        raise CheckpointError(
            f"the checkpoint to start from is a weights file of another network: "
            f"{start.architecture} with {describe_tensors(old)}; expected some of "
            f"{describe_tensors(new)}. Give a checkpoint of that network, or start without one "
            "(init_from=)"
        )
    generator.load_state_dict(new | fitted)
    is_copy = {name: _is_equal(value, old[used[name]]) for name, value in fitted.items()}
    return Transfer(
        copied=tuple(name for name in fitted if is_copy[name]),
        adapted=tuple(name for name in fitted if not is_copy[name]),
        left=tuple(name for name in new if name not in fitted),
        unused=tuple(name for name in old if name not in used.values()),
        changes=(*describe_changes(join.before, join.after), *_dropped(old, new, join))
        if join
        else (),
    )


@dataclass(frozen=True)
class _Join:
    """Two networks of one architecture."""

    before: Layout
    after: Layout

    def counterpart(self, name: str) -> str:
        """Name in the old network; empty if what it has there is something else.

        The last convolution is the last one, whatever number it has by its depth, and a level
        is that of its resolution.
        """
        layer, _, kind = name.rpartition(".")
        if self.before.num_levels != self.after.num_levels:
            part, _, rest = name.partition(".")
            if part == self.after.deepest:
                return ""
            if part in self.after.from_coarse:
                number, _, rest = rest.partition(".")
                # Negative, and thus no name, for a level that the old network has not.
                number = str(int(number) + self.before.num_levels - self.after.num_levels)
                return f"{part}.{number}.{rest}"
        if layer == self.after.last:
            return f"{self.before.last}.{kind}"
        return "" if layer == self.before.last else name


def _join(before: nn.Module, after: nn.Module) -> _Join | None:
    """Names and channels mean the same only within an architecture."""
    if type(before) is not type(after):
        return None
    layouts = getattr(before, "layout", None), getattr(after, "layout", None)
    if not (isinstance(layouts[0], Layout) and isinstance(layouts[1], Layout)):
        return None
    return _Join(layouts[0], layouts[1])


def _fit_all(
    old: dict[str, Tensor], new: dict[str, Tensor], join: _Join | None
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """For each new tensor that has something of the old ones, the name of that and its value."""
    used, fitted = {}, {}
    is_moved = join is not None and join.before.mean != join.after.mean
    plain = without_mean(old, join.before) if join and is_moved else old
    for name, tensor in new.items():
        source = join.counterpart(name) if join else name
        if source in plain and (value := _fit(name, plain[source], tensor, join)) is not None:
            used[name], fitted[name] = source, value
    return used, with_mean(fitted, join.after) if join and is_moved else fitted


def _dropped(old: dict[str, Tensor], new: dict[str, Tensor], join: _Join) -> tuple[str, ...]:
    """What a narrower network has no place for, in words."""
    widths = len(old[f"{join.before.first}.weight"]), len(new[f"{join.after.first}.weight"])
    if not join.after.widens or widths[0] <= widths[1]:
        return ()
    return (f"{widths[0]} channels became {widths[1]}: the others are dropped",)


def _fit(name: str, old: Tensor, new: Tensor, join: _Join | None) -> Tensor | None:
    """The old tensor in the shape of the new one, or None where it has no meaning there."""
    if join:
        layer, _, kind = name.rpartition(".")
        if layer == join.after.first and kind == "weight":
            old = torch.einsum("oikl,in->onkl", old, map_inputs(join.before, join.after))
        if layer == join.after.last:
            old = torch.tensordot(map_outputs(join.before, join.after), old, 1)
    if old.shape == new.shape:
        return old
    if not (join and join.after.widens and old.ndim and old.shape[2:] == new.shape[2:]):
        return None
    return _overlap(old, new)


def _overlap(old: Tensor, new: Tensor) -> Tensor:
    """The channels that both have; what they had not seen before they do not see.

    So a wider network begins with the function of the narrow one.
    """
    result = new.clone()
    outputs = min(old.shape[0], new.shape[0])
    if old.ndim == 1:
        result[:outputs] = old[:outputs]
        return result
    inputs = min(old.shape[1], new.shape[1])
    result[:outputs] = 0
    result[:outputs, :inputs] = old[:outputs, :inputs]
    return result


def _is_equal(value: Tensor, old: Tensor) -> bool:
    return value.shape == old.shape and torch.equal(value, old)


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN_NAMES]) + (", …" if len(names) > SHOWN_NAMES else "")

"""What workers of a process group know together: sums, one worker's bytes, a wish to stop.

Gradients take one flat all-reduce per network. Equal to DistributedDataParallel, and simpler:
there is no wrapper whose hooks would have to be taught about penalties, second derivatives and
two networks. Every function raises LostPeerError where another worker is gone.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ganray.errors import LostPeerError


def average_gradients(parameters: Iterable[nn.Parameter], *, weight: float) -> None:
    """Replace gradients by Σ weight·gradient over all workers.

    `weight` is this worker's share of the global batch, so that uneven shares average right.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]) * weight
    sum_over_workers(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def average_values(losses: dict[str, Tensor], *, weight: float) -> dict[str, float]:
    """Σ weight·value over all workers."""
    flat = torch.stack([value.float() for value in losses.values()]) * weight
    sum_over_workers(flat)
    return dict(zip(losses, flat.tolist(), strict=True))


def sum_over_workers(values: Tensor) -> None:
    """Replace `values` by their sum over all workers."""
    with _peers_needed():
        dist.all_reduce(values)


def share_bytes(data: bytes, device: torch.device) -> bytes:
    """Rank 0's bytes, on every worker; what others pass is not looked at."""
    length = torch.tensor([len(data)], device=device)
    with _peers_needed():
        dist.broadcast(length, src=0)
    content = torch.empty(int(length), dtype=torch.uint8, device=device)
    if dist.get_rank() == 0 and data:
        content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    with _peers_needed():
        dist.broadcast(content, src=0)
    return content.cpu().numpy().tobytes()


class AgreedWish:
    """A wish of any worker that all of them come to know at the same call, the one after.

    The answer is that of the reduction which the call before began, so that no step waits.
    """

    def __init__(self, wish: Callable[[], bool], device: torch.device) -> None:
        self._wish = wish
        self._device = device
        self._flag = torch.zeros(1, device=device)
        self._work: dist.Work | None = None

    def __call__(self) -> bool:
        with _peers_needed():
            if self._work is not None:
                self._work.wait()
            agreed = bool(self._flag)
            self._flag = torch.full((1,), float(self._wish()), device=self._device)
            self._work = dist.all_reduce(self._flag, op=dist.ReduceOp.MAX, async_op=True)
        return agreed


@contextmanager
def _peers_needed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostPeerError(f"a worker lost its connection to another one: {error}") from error

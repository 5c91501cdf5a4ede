"""The generator, compiled where that pays and works."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)


def compiled(network: nn.Module, mode: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A call of `network`, compiled if `mode` is always, or auto on CUDA.

    Where nothing compiles (no C compiler, an unknown GPU) auto goes on without, and says so.
    """
    if mode == "never" or (mode == "auto" and device.type != "cuda"):
        return network
    return _Compiled(network, is_optional=mode == "auto")


class _Compiled:
    """Compiles at a call of a new kind; falls back to the network itself if it may."""

    def __init__(self, network: nn.Module, *, is_optional: bool) -> None:
        self.network = network
        self.call: Callable[[Tensor], Tensor] = torch.compile(network)
        self.is_optional = is_optional

    def __call__(self, degraded: Tensor) -> Tensor:
        try:
            restored = self.call(degraded)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, OSError) as error:
            if not self.is_optional or self.call is self.network:
                raise
            logger.warning("the generator is not compiled: %s", error)
            self.call = self.network
            restored = self.call(degraded)
        return restored

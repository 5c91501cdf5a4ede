"""Pixels to the device and back, beside its computing where it has a memory of its own."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Arrival:
    """Values on their way to the host's memory."""

    values: Tensor
    arrived: torch.cuda.Event | None = None

    def wait(self) -> NDArray[Any]:
        """The values, once they are all here."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values.numpy()


class Transfers(Protocol):
    """The way to a device and back."""

    def send(self, values: NDArray[Any]) -> Tensor: ...

    def fetch(self, values: Tensor) -> Arrival: ...


class HostTransfers:
    """For a CPU: nothing is copied."""

    def send(self, values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values))

    def fetch(self, values: Tensor) -> Arrival:
        return Arrival(values)


class CudaTransfers:
    """Through page-locked memory, results by a stream of their own: the device goes on."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def send(self, values: NDArray[Any]) -> Tensor:
        source = torch.from_numpy(np.ascontiguousarray(values))
        locked = _host_memory(source)
        locked.copy_(source)
        return locked.to(self._device, non_blocking=True)

    def fetch(self, values: Tensor) -> Arrival:
        locked = _host_memory(values)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            locked.copy_(values, non_blocking=True)
            arrived = self._stream.record_event()
        # Its memory must not serve anything else before it is copied.
        values.record_stream(self._stream)
        return Arrival(locked, arrived)


def _host_memory(like: Tensor) -> Tensor:
    """Page-locked, or plain where the system locks no more of it, which is slower."""
    try:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)
    except RuntimeError:
        return torch.empty(like.shape, dtype=like.dtype)


def open_transfers(device: torch.device) -> Transfers:
    """The way to a device; a stream of copies for each one that is opened."""
    return CudaTransfers(device) if device.type == "cuda" else HostTransfers()

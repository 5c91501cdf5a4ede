"""What the ends of a generator mean, so that its weights can start another one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The convolutions at both ends, and what their channels stand for.

    Input channels of `first` are image · band · pixel of a block (`block`²), those of the mask
    last; output channels of `last` are band · pixel of a shuffle (`phases`²). Where it `widens`,
    a hidden channel of a wider network stands for the one of the same number.
    """

    first: str
    last: str
    bands: int
    images: int = 1
    mask: bool = False
    block: int = 1
    phases: int = 1
    widens: bool = False

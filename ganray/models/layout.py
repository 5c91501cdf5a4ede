"""What the ends of a generator mean, so that its weights can start another one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The convolutions at both ends, and what their channels stand for.

    Input channels of `first` are image · band · pixel of a block (`block`²), those of the mask
    last; output channels of `last` are band · pixel of a shuffle (`phases`²). Where it `widens`,
    a hidden channel of a wider network stands for the one of the same number.

    What `first` sees is (input − mean)·gain, where there is a `mean`, one for each band. Of
    `num_levels` of resolution the layers below the names in `from_coarse` are numbered from the
    coarsest, others from the finest, and `deepest` is the name of what lies below all of them.
    """

    first: str
    last: str
    bands: int
    images: int = 1
    mask: bool = False
    block: int = 1
    phases: int = 1
    widens: bool = False
    mean: tuple[float, ...] = ()
    gain: float = 1.0
    num_levels: int = 0
    from_coarse: tuple[str, ...] = ()
    deepest: str = ""

"""How the discriminators' weights begin."""

from torch import nn

SLOPE = 0.2
"""Of the leaky rectifiers that all discriminators use."""


def initialise(module: nn.Module) -> None:
    """He initialisation: PyTorch's own would start so flat that the first game is no game."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""Spectral normalisation: what bounds a discriminator whose loss has no gradient penalty."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


def normalise_spectrally(network: nn.Module) -> nn.Module:
    """The network itself, every convolution divided by its largest singular value from now on.

    After Miyato et al. 2018: one power iteration at each forward pass in training mode. Under a
    gradient penalty it bounds the same thing twice; leave it out there.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d):
            spectral_norm(module)
    return network

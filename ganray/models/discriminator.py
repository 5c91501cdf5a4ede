"""What every discriminator is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Discriminator(nn.Module, ABC):
    """Images (B,C,H,W), sides divisible by its stride, to logits (B,1,h,w)."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.features(images_BCHW)[-1]

    @abstractmethod
    def features(self, images_BCHW: Tensor) -> list[Tensor]:
        """What its layers find, from the first to the last; the logits are the last."""

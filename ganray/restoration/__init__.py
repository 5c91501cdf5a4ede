"""Restoration of pixels by a generator, without Ray."""

from ganray.restoration.restorer import Restoration, Restorer, RestorerConfig

__all__ = ["Restoration", "Restorer", "RestorerConfig"]

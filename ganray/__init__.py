"""ganray restores image archives at cluster scale with generative adversarial networks on Ray."""

__version__ = "0.1.0"

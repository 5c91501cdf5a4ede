"""Tiny generators, each another, for tests of the registry."""

from functools import cache

import torch

from ganray.models.checkpoint import (
    Checkpoint,
    Provenance,
    build_generator,
    decode_checkpoint,
    encode_checkpoint,
)


@cache
def tiny(seed: int, scale: int = 2) -> tuple[Checkpoint, bytes]:
    """A generator and its file; equal seeds give equal weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {"num_features": 2, "num_convs": 1, "scale": scale}
        generator, network = build_generator("compact", options)
    data = encode_checkpoint(generator, "compact", network, Provenance(f"seed {seed}", {}))
    return decode_checkpoint(data, "tiny"), data

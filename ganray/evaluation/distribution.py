"""How far a set of restored images lies from a set of references, as a network sees both.

Formulas of FID and KID, but on the features that the user names, so never called that: values
are comparable only between sets seen by the same network.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ganray.models.feature_networks import FeatureNetwork
from ganray.raster.image import FloatPixels

Array = NDArray[np.float64]

KEPT_IMAGES: Final = 1000
"""The kernel distance is between so many images at most of each set."""
FEWEST_IMAGES: Final = 8


@dataclass(frozen=True)
class SetValue:
    """A distance between two sets, or why there is none."""

    value: float | None
    reason: str = ""


@dataclass(frozen=True)
class FeatureSums:
    """What is known of a set's features: flat memory, however many images; parts can be merged.

    `scatter` (D,D) is the sum of (f − mean)(f − mean)ᵀ. `kept` are the features of the images whose
    keys have the smallest hashes: a random subset that is the same whoever saw which part.
    """

    count: int
    mean: Array
    scatter: Array
    kept: dict[str, Array] = field(default_factory=dict)
    seed: int = 0

    @classmethod
    def empty(cls, num_features: int, seed: int = 0) -> "FeatureSums":
        return cls(0, np.zeros(num_features), np.zeros((num_features, num_features)), {}, seed)

    def add(self, keys: Sequence[str], features_ND: NDArray[np.floating]) -> "FeatureSums":
        """With the features of further images, whose keys are new."""
        features = features_ND.astype(np.float64)
        mean = features.mean(0)
        kept = dict(zip(keys, features, strict=True))
        part = FeatureSums(len(features), mean, _scatter(features - mean), kept, self.seed)
        return self.merge(part)

    def merge(self, other: "FeatureSums") -> "FeatureSums":
        """With those of another part of the set; Chan, Golub & LeVeque 1979, eq. 2.1."""
        count = self.count + other.count
        if not count:
            return self
        step = other.mean - self.mean
        between = np.outer(step, step) * (self.count * other.count / count)
        return FeatureSums(
            count,
            self.mean + step * (other.count / count),
            self.scatter + other.scatter + between,
            self._fewest(self.kept | other.kept),
            self.seed,
        )

    @property
    def covariance(self) -> Array:
        return self.scatter / (self.count - 1)

    def _fewest(self, features: dict[str, Array]) -> dict[str, Array]:
        if len(features) <= KEPT_IMAGES:
            return features
        order = sorted(features, key=lambda key: _hash(key, self.seed))
        return {key: features[key] for key in order[:KEPT_IMAGES]}


def extract(network: FeatureNetwork, image_CHW: FloatPixels, device: torch.device) -> Array:
    """The last compared layer of a gray or RGB image in 0-1, averaged over its pixels, (D,)."""
    with torch.inference_mode():
        image = torch.from_numpy(np.ascontiguousarray(image_CHW)).to(device)[None]
        pooled: Array = network.features(image)[-1].mean((0, 2, 3)).cpu().double().numpy()
    return pooled


def frechet_distance(restored: FeatureSums, reference: FeatureSums) -> SetValue:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½); Dowson & Landau 1982, Heusel et al. 2017, eq. 6.

    The root's trace by the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric. None unless both sets
    have more images than there are features, below which the covariances say little.
    """
    fewest, num_features = min(restored.count, reference.count), restored.mean.size
    if fewest <= num_features:
        return SetValue(
            None, f"{fewest} images; expected more than the {num_features} features' number"
        )
    values, vectors = np.linalg.eigh(restored.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ reference.covariance @ root)
    step = restored.mean - reference.mean
    traces = np.trace(restored.covariance) + np.trace(reference.covariance)
    return SetValue(float(step @ step + traces - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum()))


def kernel_distance(restored: FeatureSums, reference: FeatureSums) -> SetValue:
    """MMD² under k(x,y) = (x·y/D + 1)³, unbiased; Bińkowski et al. 2018, section 4.

    An image is never compared with itself, neither within a set nor across (Gretton et al. 2012,
    eq. 4), so that a set and its own restorations may be compared. May be slightly negative.
    """
    fewest = min(len(restored.kept), len(reference.kept))
    if fewest < FEWEST_IMAGES:
        return SetValue(None, f"{fewest} images; expected at least {FEWEST_IMAGES}")
    within = _mean_kernel(restored, restored) + _mean_kernel(reference, reference)
    return SetValue(within - 2 * _mean_kernel(restored, reference))


def _mean_kernel(one: FeatureSums, other: FeatureSums) -> float:
    """Mean of k over all pairs of different images."""
    x, y = (np.stack(list(sums.kept.values())) for sums in (one, other))
    kernel = (x @ y.T / x.shape[1] + 1) ** 3
    keys, others = (np.array(list(sums.kept)) for sums in (one, other))
    return float(kernel[keys[:, None] != others[None]].mean())


def _scatter(centred_ND: Array) -> Array:
    scatter: Array = centred_ND.T @ centred_ND
    return scatter


def _hash(key: str, seed: int) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=8, key=seed.to_bytes(8, "little")).digest()

"""Stacked-MNIST: three digits in three channels are one of 1,000 modes, and DCGANs learn them.

After VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et al. 2018): 128,000 fixed triples of
28×28 digits, z uniform of 100, batch 64, Adam 2e-4 with β1 .5, 26,000 samples, each of whose
channels a classifier reads. The classifier is trained here, on the digits alone, and the same
reading of fresh triples of real digits gives the floor of the divergence.

Both networks are PacGAN's DCGAN. Under a gradient penalty the discriminator has no
normalisation, since a batch's statistics make one sample's gradient depend on the others.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from modes_game import NO_PENALTY, Coverage, Game, Pace, Rule, mode_coverage
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

NUM_MODES = 1000
NUM_LATENT = 100
NUM_TRIPLES = 128_000
CHUNK = 500
IMAGE_MAGIC, LABEL_MAGIC = 2051, 2049


@dataclass(frozen=True)
class Digits:
    """Images (N,1,28,28) in −1 to 1, and their labels (N,)."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class StackedArchive:
    """The digits, the fixed triples of them (T,3), and what reads the digits of an image."""

    digits: Digits
    triples: Tensor
    classifier: nn.Module
    accuracy: float

    def stack(self, triples: Tensor) -> Tensor:
        """The images (B,3,28,28) of triples (B,3) of digits."""
        return self.digits.images[triples, 0]


def read_digits(folder: Path, part: str, device: torch.device) -> Digits:
    """The digits of `part`, train or t10k, from the idx files that MNIST is published in."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", IMAGE_MAGIC)
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", LABEL_MAGIC)
    pixels = torch.from_numpy(images).to(device).float().unsqueeze(1) / 127.5 - 1
    return Digits(pixels, torch.from_numpy(labels).to(device).long())


def read_idx(path: Path, magic: int) -> np.ndarray:
    if not path.exists():
        raise SystemExit(
            f"{path} does not exist; name by --mnist the folder of MNIST's four .gz files"
        )
    data = gzip.decompress(path.read_bytes())
    found = int.from_bytes(data[:4], "big")
    if found != magic:
        raise SystemExit(f"{path} begins with {found}, not with {magic}: it is not MNIST's file")
    sizes = np.frombuffer(data, ">i4", count=found % 256, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * len(sizes)).reshape(sizes).copy()


def stacked_archive(folder: Path, device: torch.device, num_epochs: int) -> StackedArchive:
    digits = read_digits(folder, "train", device)
    rng = torch.Generator().manual_seed(0)
    triples = torch.randint(len(digits.labels), (NUM_TRIPLES, 3), generator=rng).to(device)
    classifier = train_classifier(digits, num_epochs)
    held_out = read_digits(folder, "t10k", device)
    with torch.no_grad():
        read = classifier(held_out.images).argmax(1)
    accuracy = float((read == held_out.labels).float().mean())
    return StackedArchive(digits, triples, classifier, accuracy)


def train_classifier(digits: Digits, num_epochs: int) -> nn.Module:
    torch.manual_seed(0)
    classifier = nn.Sequential(
        *(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU()),
        *(nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(32 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10)),
    ).to(digits.images.device)
    num_batches = len(digits.labels) * num_epochs // 128
    optimizer = Adam(classifier.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, num_batches)
    order = torch.cat([torch.randperm(len(digits.labels)) for _ in range(num_epochs)])
    for chosen in order[: num_batches * 128].view(-1, 128).to(digits.images.device):
        loss = F.cross_entropy(classifier(digits.images[chosen]), digits.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier.eval()


def dcgan_generator(filters: int) -> nn.Module:
    """(B,100) to (B,3,28,28) in −1 to 1, from 2×2 by four transposed convolutions."""
    layers: list[nn.Module] = [
        nn.Linear(NUM_LATENT, 8 * filters * 4),
        nn.Unflatten(1, (8 * filters, 2, 2)),
    ]
    # Sides of 2, 4, 7, 14 and 28: only the second doubling is short of one.
    for num_in, num_out, extra in ((8, 4, 1), (4, 2, 0), (2, 1, 1)):
        layers += [nn.BatchNorm2d(num_in * filters), nn.ReLU()]
        layers.append(
            nn.ConvTranspose2d(num_in * filters, num_out * filters, 5, 2, 2, output_padding=extra)
        )
    layers += [nn.BatchNorm2d(filters), nn.ReLU()]
    layers += [nn.ConvTranspose2d(filters, 3, 5, 2, 2, output_padding=1), nn.Tanh()]
    return start_small(nn.Sequential(*layers))


def dcgan_discriminator(filters: int, *, normalises: bool) -> nn.Module:
    """(B,3,28,28) to logits (B,1)."""
    layers: list[nn.Module] = [nn.Conv2d(3, filters, 5, 2, 2), nn.LeakyReLU(0.2)]
    for num_in, num_out in ((1, 2), (2, 4), (4, 8)):
        layers.append(nn.Conv2d(num_in * filters, num_out * filters, 5, 2, 2))
        if normalises:
            layers.append(nn.BatchNorm2d(num_out * filters))
        layers.append(nn.LeakyReLU(0.2))
    layers += [nn.Flatten(), nn.Linear(8 * filters * 4, 1)]
    network = nn.Sequential(*layers)
    # Without normalisation, weights of .02 would let no signal through.
    return start_small(network) if normalises else network


def start_small(network: nn.Module) -> nn.Module:
    """Weights of deviation .02, Radford et al. 2016 (DCGAN), section 4."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def train_stacked(
    rule: Rule, archive: StackedArchive, pace: Pace, filters: int, seed: int
) -> nn.Module:
    """A generator at the end of its training."""
    device = archive.triples.device
    torch.manual_seed(seed)
    generator = dcgan_generator(filters).to(device)
    normalises = rule.penalty == NO_PENALTY
    discriminator = dcgan_discriminator(filters, normalises=normalises).to(device)
    mixing = torch.Generator().manual_seed(seed)
    game = Game(generator, discriminator, rule, pace, [mixing])
    rng = torch.Generator(device).manual_seed(seed)
    for index in range(pace.num_steps):
        chosen = torch.randint(NUM_TRIPLES, (pace.batch,), generator=rng, device=device)
        game.step(index, archive.stack(archive.triples[chosen]), draw_noise(pace.batch, rng))
    return generator


def draw_noise(number: int, rng: torch.Generator) -> Tensor:
    return torch.rand(number, NUM_LATENT, generator=rng, device=rng.device) * 2 - 1


def generated_coverage(
    generator: nn.Module, archive: StackedArchive, num_samples: int, seed: int
) -> Coverage:
    """Of samples under the running statistics of the normalisation, as PacGAN samples."""
    rng = torch.Generator(archive.triples.device).manual_seed(seed + NUM_MODES)
    generator.eval()
    return _coverage(lambda number: generator(draw_noise(number, rng)), archive, num_samples)


def real_coverage(archive: StackedArchive, num_samples: int, seed: int) -> Coverage:
    """Of fresh triples of real digits: what a perfect generator scores."""
    device = archive.triples.device
    rng = torch.Generator(device).manual_seed(seed + NUM_MODES)

    def draw(number: int) -> Tensor:
        size = (number, 3)
        return archive.stack(
            torch.randint(len(archive.digits.labels), size, generator=rng, device=device)
        )

    return _coverage(draw, archive, num_samples)


@torch.no_grad()
def _coverage(draw: Callable[[int], Tensor], archive: StackedArchive, num_samples: int) -> Coverage:
    modes = []
    for start in range(0, num_samples, CHUNK):
        images = draw(min(CHUNK, num_samples - start))
        read = archive.classifier(images.flatten(0, 1).unsqueeze(1)).argmax(1).view(-1, 3)
        modes.append(read[:, 0] * 100 + read[:, 1] * 10 + read[:, 2])
    return mode_coverage(torch.cat(modes).cpu(), NUM_MODES)

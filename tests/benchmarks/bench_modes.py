"""How many modes ganray's adversarial games capture, beside published figures.

    python tests/benchmarks/bench_modes.py ring                       8 Gaussians on a circle
    python tests/benchmarks/bench_modes.py grid                       25 Gaussians
    python tests/benchmarks/bench_modes.py stacked --mnist FOLDER --device cuda
    python tests/benchmarks/bench_modes.py stacked --mnist FOLDER --reduced      on a CPU

ring and grid: every loss of ganray, bare and under its penalties; generator and discriminator of
2 hidden layers of 128, z of 256, batch 128, 25,000 steps of both players at one learning rate
for all rows, 2,500 samples. High quality are samples within 3σ of a mean; a mode with one of
them is captured; reverse KL is that of their modes from an even choice, in nats.

stacked: the 1,000 triples of MNIST's digits, by `modes_stacked.py`.

Each row is the mean over the seeds ± its standard error. Rows are printed as they come, and
appended to the file --output, one JSON object a line with the figures of every seed.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from modes_game import (
    NO_PENALTY,
    WASSERSTEIN,
    ZERO_CENTRED,
    Coverage,
    Pace,
    Rule,
    check_measures,
    mean_and_error,
)
from modes_points import grid, ring, train_points
from modes_stacked import (
    generated_coverage,
    real_coverage,
    stacked_archive,
    train_stacked,
)

MIXTURES = {"ring": ring, "grid": grid}
GAMES = (
    ("nonsaturating", NO_PENALTY),
    ("relativistic", ZERO_CENTRED),
    ("wasserstein", WASSERSTEIN),
    ("relativistic", NO_PENALTY),
    ("nonsaturating", ZERO_CENTRED),
    ("hinge", NO_PENALTY),
    ("least_squares", NO_PENALTY),
    ("hinge", ZERO_CENTRED),
    ("least_squares", ZERO_CENTRED),
)
"""The rows of ring and grid, those that matter most first."""
STACKED_GAMES = (("nonsaturating", NO_PENALTY), ("relativistic", ZERO_CENTRED))
GULRAJANI_WEIGHT = 10.0


@dataclass(frozen=True)
class Settings:
    """How one benchmark trains: its pace, and γ of R1 + R2 from the first step to the last."""

    pace: Pace
    gamma: float
    gamma_end: float


PLANE = Settings(Pace(25_000, 1e-3, 0.0, (0.0, 0.99), 128), 0.01, 1e-5)
STACKED = Settings(Pace(50_000, 2e-4, 2e-4, (0.5, 0.999), 64), 10.0, 1.0)
FILTERS, REDUCED_FILTERS = 64, 8
REDUCED = replace(STACKED, pace=replace(STACKED.pace, num_steps=5000, rate=1e-3, rate_end=1e-3))
NUM_SAMPLES = 26_000
CLASSIFIER_EPOCHS, REDUCED_EPOCHS = 5, 1

PUBLISHED = {
    "ring": (
        ("GAN (PacGAN, table 1)", "6.3 ± 0.5", "98.2 %", "0.45"),
        ("PacGAN2 (PacGAN, table 1)", "7.9 ± 0.1", "95.6 %", "0.07"),
        ("GAN (VEEGAN, table 1)", "1", "", ""),
        ("Unrolled GAN (VEEGAN, table 1)", "7.6", "", ""),
    ),
    "grid": (
        ("GAN (PacGAN, table 1)", "17.3 ± 0.8", "94.8 %", "0.70"),
        ("PacGAN4 (PacGAN, table 1)", "24.8 ± 0.2", "93.6 %", "0.04"),
        ("GAN (VEEGAN, table 1)", "3.3", "", ""),
        ("Unrolled GAN (VEEGAN, table 1)", "23.6", "", ""),
    ),
    "stacked": (
        ("DCGAN (PacGAN, tables 2 and 3)", "78.9 to 99", "", "3.4 to 4.5"),
        ("VEEGAN (PacGAN, table 2)", "150", "", "2.95"),
        ("PacDCGAN2 (PacGAN, table 2)", "1000", "", "0.06"),
        ("Unrolled GAN (PacGAN, table 2)", "48.7", "", ""),
        ("nonsaturating + R1+R2 (R3GAN)", "693", "", "0.927"),
        ("relativistic + R1+R2 (R3GAN)", "1000", "", "0.078"),
    ),
}
"""Modes, high quality and KL as published; what was not read in a paper is left out."""


@dataclass(frozen=True)
class Row:
    """What one game reached, seed by seed; `settings` say how."""

    benchmark: str
    name: str
    seeds: Sequence[int]
    coverages: list[Coverage]
    seconds: float
    settings: dict[str, object]


def main() -> None:
    arguments = parse_arguments()
    check_measures()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    is_stacked = arguments.benchmark == "stacked"
    rows = stacked_rows(arguments) if is_stacked else plane_rows(arguments)
    print(f"torch {torch.__version__}; seeds {arguments.seeds}")
    print(f"{'':<38}{'modes':>14}{'high quality':>17}{'reverse KL':>17}")
    for name, modes, quality, kl in PUBLISHED[arguments.benchmark]:
        print(f"{name:<38}{modes:>14}{quality:>17}{kl:>17}")
    for row in rows:
        print(describe(row), flush=True)
        if arguments.output:
            with arguments.output.open("a") as file:
                file.write(json.dumps(asdict(row) | {"torch": torch.__version__}) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=[*MIXTURES, "stacked"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--output", type=Path, help="a file of JSON lines to append to")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, help="other than the protocol's")
    parser.add_argument("--rate", type=float, help="learning rate at the first step")
    parser.add_argument("--gamma", type=float, nargs=2, help="at the first and at the last step")
    parser.add_argument("--mnist", type=Path, help="stacked: the folder of MNIST's .gz files")
    parser.add_argument("--device", default="cpu", help="stacked: cpu, cuda, cuda:1 …")
    parser.add_argument("--reduced", action="store_true", help="stacked: what a CPU can train")
    arguments = parser.parse_args()
    if arguments.benchmark == "stacked" and arguments.mnist is None:
        parser.error("stacked needs --mnist, the folder of MNIST's four .gz files")
    return arguments


def chosen_games(games: Sequence[tuple[str, str]], settings: Settings, only: str) -> Iterator[Rule]:
    for loss, penalty in games:
        weights = {
            NO_PENALTY: (0.0, 0.0),
            ZERO_CENTRED: (settings.gamma, settings.gamma_end),
            WASSERSTEIN: (GULRAJANI_WEIGHT, GULRAJANI_WEIGHT),
        }[penalty]
        rule = Rule(loss, penalty, *weights)
        if only in rule.name:
            yield rule


def adjusted(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """The settings with what the command line says otherwise."""
    pace = settings.pace
    if arguments.steps:
        pace = replace(pace, num_steps=arguments.steps)
    if arguments.rate:
        pace = replace(pace, rate=arguments.rate, rate_end=min(pace.rate_end, arguments.rate))
    gamma, gamma_end = arguments.gamma or (settings.gamma, settings.gamma_end)
    return Settings(pace, gamma, gamma_end)


def plane_rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """The seeds of a row are trained together."""
    settings = adjusted(PLANE, arguments)
    mixture = MIXTURES[arguments.benchmark]()
    for rule in chosen_games(GAMES, settings, arguments.only):
        start = time.perf_counter()
        coverages = train_points(rule, mixture, settings.pace, arguments.seeds)
        seconds = time.perf_counter() - start
        described = asdict(rule) | asdict(settings.pace)
        yield Row(arguments.benchmark, rule.name, arguments.seeds, coverages, seconds, described)


def stacked_rows(arguments: argparse.Namespace) -> Iterator[Row]:
    """The real triples' floor first; the seeds of a row are trained one after the other."""
    device = torch.device(arguments.device)
    settings, filters, num_epochs = STACKED, FILTERS, CLASSIFIER_EPOCHS
    if arguments.reduced:
        filters, num_epochs = REDUCED_FILTERS, REDUCED_EPOCHS
        settings = REDUCED
    settings = adjusted(settings, arguments)
    if arguments.reduced:
        print(
            f"reduced: {filters} filters of {FILTERS}, {settings.pace.num_steps} steps at "
            f"{settings.pace.rate:g} of {STACKED.pace.num_steps} at {STACKED.pace.rate:g}, "
            f"{num_epochs} epoch of {CLASSIFIER_EPOCHS} for the classifier; all the "
            f"{NUM_SAMPLES} samples"
        )
    archive = stacked_archive(arguments.mnist, device, num_epochs)
    print(f"classifier: {archive.accuracy:.2%} of MNIST's test digits")
    start = time.perf_counter()
    floors = [real_coverage(archive, NUM_SAMPLES, seed) for seed in arguments.seeds]
    seconds = time.perf_counter() - start
    described: dict[str, object] = {"filters": filters, "accuracy": archive.accuracy}
    yield Row("stacked", "real triples", arguments.seeds, floors, seconds, described)
    for rule in chosen_games(STACKED_GAMES, settings, arguments.only):
        start = time.perf_counter()
        coverages = []
        for seed in arguments.seeds:
            generator = train_stacked(rule, archive, settings.pace, filters, seed)
            coverages.append(generated_coverage(generator, archive, NUM_SAMPLES, seed))
        seconds = time.perf_counter() - start
        more = described | asdict(rule) | asdict(settings.pace)
        yield Row("stacked", rule.name, arguments.seeds, coverages, seconds, more)


def describe(row: Row) -> str:
    modes = with_error([each.modes for each in row.coverages], 1)
    quality = with_error([100 * each.high_quality for each in row.coverages], 1) + " %"
    kl = with_error([each.kl for each in row.coverages], 3)
    shown = quality if row.benchmark in MIXTURES else ""
    return f"{row.name:<38}{modes:>14}{shown:>17}{kl:>17}{row.seconds:8.0f} s"


def with_error(values: Sequence[float], digits: int) -> str:
    """The mean, with its standard error where there is more than one value."""
    mean, error = mean_and_error(values)
    return f"{mean:.{digits}f}" + (f" ± {error:.{digits}f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()

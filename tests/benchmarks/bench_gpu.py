"""What of a GPU's speed reaches the images, without Ray.

    python tests/benchmarks/bench_gpu.py                       on a CUDA machine, some minutes
    python tests/benchmarks/bench_gpu.py --device cpu          the same code, tiny, to try it

Networks of published sizes with random weights restore JPEG files in a folder in memory:

    bare loop       patches that are on the device, in full batches, float16, channels_last
    with cudnn      the same after cudnn has tried its algorithms (cudnn.benchmark)
    compiled        the same through torch.compile; its first batch is the price
    windows         Restorer.restore_windows over decoded images: patches, transfers, rounding,
                    trust figures
    files           the same with reading, decoding, encoding and writing in threads beside it:
                    the engine that a worker of a restoration runs
    …, compiled     these two with compile=always
    script          image by image as the usual tools do: read, tiles with a padding of 10 one
                    by one in float16, write

Mpixel/s are of input images, so that halos count as what they are: work for nothing. `share`
is of the bare loop. Memory is the most that was allocated on the device. Small images show
whether batches are full, large ones whether codecs keep up: their busy threads are printed.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from gpu_variants import (
    SCALE,
    Job,
    Result,
    bare_loop,
    bare_loop_with_cudnn,
    compiled_files,
    compiled_loop,
    compiled_windows,
    files,
    reset_peak,
    script,
    windows,
)
from material import write_archive
from PIL import Image
from torch import nn

from ganray.models.checkpoint import (
    Checkpoint,
    Provenance,
    build_generator,
    decode_checkpoint,
    encode_checkpoint,
)

Network = tuple[str, dict[str, int]]
PUBLISHED: dict[str, Network] = {
    "compact x4, 64 features, 16 layers": ("compact", {"num_features": 64, "num_convs": 16}),
    "compact x4, 64 features, 32 layers": ("compact", {"num_features": 64, "num_convs": 32}),
    "RRDB x4, 64 features, 23 blocks": ("rrdb", {"num_features": 64, "num_blocks": 23}),
}
TINY: dict[str, Network] = {
    "compact x4, 8 features, 2 layers": ("compact", {"num_features": 8, "num_convs": 2}),
    "RRDB x4, 8 features, 1 block": (
        "rrdb",
        {"num_features": 8, "num_blocks": 1, "growth": 4},
    ),
}
FEWER = 4
"""A deep generator restores a fraction of the images."""
REPEATS = 8
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main() -> None:
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "this machine shows no CUDA device to torch; run it on one that has one, or try the "
            "code with --device cpu"
        )
    is_gpu = device.type == "cuda"
    if not is_gpu:
        torch.set_num_threads(1)
    name = torch.cuda.get_device_name(device) if is_gpu else "CPU"
    print(f"{name}, torch {torch.__version__}, {os.cpu_count()} CPUs")
    archives = {1024: 32, 256: 512} if is_gpu else {160: 2, 48: 12}
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        for side, number in archives.items():
            number *= arguments.factor
            write_archive(f"{folder}/{side}", number, side)
            write_archive(f"{folder}/{side}-few", max(2, number // FEWER), side)
        for title, network in (PUBLISHED if is_gpu else TINY).items():
            if arguments.only not in title:
                continue
            checkpoint = random_checkpoint(*network)
            for side in archives:
                is_slow = title.startswith("RRDB")
                source = Path(folder, f"{side}-few" if is_slow else str(side))
                target = Path(folder, "out")
                target.mkdir(exist_ok=True)
                print(f"\n{title}: {len(list(source.iterdir()))} JPEG images of {side}²")
                job = Job(
                    checkpoint=checkpoint,
                    source=source,
                    target=target,
                    device=device,
                    dtype=torch.float16 if is_gpu else torch.bfloat16,
                    num_threads=arguments.threads,
                    num_ahead=arguments.prefetch,
                    num_repeats=1 if is_slow or not is_gpu else REPEATS,
                )
                compare(job, compiles=arguments.compile or is_gpu)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    half = max(1, (os.cpu_count() or 1) // 2)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 …, or cpu with tiny sizes")
    parser.add_argument("--factor", type=int, default=1, help="times as many images")
    parser.add_argument("--threads", type=int, default=half, help="that read, and that write")
    parser.add_argument("--prefetch", type=int, default=3 * half, help="images read ahead")
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--compile", action="store_true", help="torch.compile on a CPU too")
    return parser.parse_args()


def random_checkpoint(architecture: str, options: dict[str, int]) -> Checkpoint:
    torch.manual_seed(0)
    generator, network = build_generator(architecture, options | {"scale": SCALE})
    last = [module for module in generator.modules() if isinstance(module, nn.Conv2d)][-1]
    with torch.no_grad():
        # Outputs that compress like pictures, not like noise.
        last.weight.mul_(0.01)
    data = encode_checkpoint(generator, architecture, network, Provenance("nothing", {}))
    return decode_checkpoint(data, architecture)


def compare(job: Job, *, compiles: bool) -> None:
    """Print every variant of one job."""
    sides = [Image.open(path).size for path in job.source.iterdir()]
    megapixels = sum(width * height for width, height in sides) / 1e6
    variants: dict[str, Callable[[Job], Result]] = {"bare loop": bare_loop}
    if job.device.type == "cuda":
        variants["with cudnn"] = bare_loop_with_cudnn
    if compiles:
        variants["compiled"] = compiled_loop
    variants |= {"windows": windows, "files": files}
    if compiles:
        variants |= {"windows, compiled": compiled_windows, "files, compiled": compiled_files}
    variants["script"] = script
    bare_seconds = 0.0
    for name, variant in variants.items():
        reset_peak(job.device)
        result = variant(job)
        bare_seconds = bare_seconds or result.seconds
        print(
            f"  {name:<17} {megapixels / result.seconds:8.2f} Mpixel/s"
            f"  share {bare_seconds / result.seconds:5.2f}"
            f"  {result.gigabytes:5.1f} GB  {result.note}".rstrip(),
            flush=True,
        )


if __name__ == "__main__":
    main()

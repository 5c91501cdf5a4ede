"""Generators as their publishers name and define them, with random weights of small size."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]


def conv_tensors(name: str, inputs: int, outputs: int, kernel: int = 3) -> Tensors:
    spread = 1 / math.sqrt(inputs * kernel**2)
    return {
        f"{name}.weight": spread * torch.randn(outputs, inputs, kernel, kernel),
        f"{name}.bias": 0.1 * torch.randn(outputs),
    }


def convolve(tensors: Tensors, name: str, x: Tensor) -> Tensor:
    weight = tensors[f"{name}.weight"]
    return F.conv2d(x, weight, tensors[f"{name}.bias"], padding=weight.shape[-1] // 2)


@dataclass(frozen=True)
class RRDBNames:
    """Names of an RRDBNet's layers; `block` takes block, dense block and convolution."""

    first: str
    block: Callable[[int, int, int], str]
    body: str
    ups: tuple[str, ...]
    hr: str
    last: str


def rrdb_names(naming: str, *, blocks: int, ups: int) -> RRDBNames:
    if naming == "BasicSR":
        return RRDBNames(
            "conv_first",
            lambda i, j, k: f"body.{i}.rdb{j}.conv{k}",
            "conv_body",
            tuple(f"conv_up{n}" for n in range(1, ups + 1)),
            "conv_hr",
            "conv_last",
        )
    if naming == "BSRGAN":
        return RRDBNames(
            "conv_first",
            lambda i, j, k: f"RRDB_trunk.{i}.RDB{j}.conv{k}",
            "trunk_conv",
            tuple(f"upconv{n}" for n in range(1, ups + 1)),
            "HRconv",
            "conv_last",
        )
    return RRDBNames(
        "model.0",
        lambda i, j, k: f"model.1.sub.{i}.RDB{j}.conv{k}.0",
        f"model.1.sub.{blocks}",
        tuple(f"model.{3 * n}" for n in range(1, ups + 1)),
        f"model.{3 * ups + 2}",
        f"model.{3 * ups + 4}",
    )


def rrdb_tensors(
    names: RRDBNames, *, channels: int = 3, blocks: int = 1, bands: int = 3
) -> Tensors:
    features, growth = 4, 2
    tensors = conv_tensors(names.first, channels, features)
    for i in range(blocks):
        for j in (1, 2, 3):
            for k in range(1, 6):
                outputs = growth if k < 5 else features
                tensors |= conv_tensors(names.block(i, j, k), features + (k - 1) * growth, outputs)
    for name in (names.body, *names.ups, names.hr):
        tensors |= conv_tensors(name, features, features)
    return tensors | conv_tensors(names.last, features, bands)


def rrdb_output(tensors: Tensors, names: RRDBNames, x: Tensor, blocks: int = 1) -> Tensor:
    """The published formula, from the unshuffled input on."""
    first = trunk = convolve(tensors, names.first, x)
    for i in range(blocks):
        block = trunk
        for j in (1, 2, 3):
            seen = block
            for k in range(1, 5):
                new = F.leaky_relu(convolve(tensors, names.block(i, j, k), seen), 0.2)
                seen = torch.cat((seen, new), 1)
            block = block + 0.2 * convolve(tensors, names.block(i, j, 5), seen)
        trunk = trunk + 0.2 * block
    features = first + convolve(tensors, names.body, trunk)
    for name in names.ups:
        features = features.repeat_interleave(2, 2).repeat_interleave(2, 3)
        features = F.leaky_relu(convolve(tensors, name, features), 0.2)
    features = F.leaky_relu(convolve(tensors, names.hr, features), 0.2)
    return convolve(tensors, names.last, features)


def compact_tensors(
    *, features: int = 4, convs: int = 2, scale: int = 2, bands: int = 3
) -> Tensors:
    tensors = conv_tensors("body.0", bands, features)
    for position in range(1, 2 * convs + 2, 2):
        tensors[f"body.{position}.weight"] = torch.rand(features)
        outputs = bands * scale**2 if position == 2 * convs + 1 else features
        tensors |= conv_tensors(f"body.{position + 1}", features, outputs)
    return tensors


def srgan_tensors(*, ups: int = 2, blocks: int = 2, old: bool = False) -> Tensors:
    """leftthomas/SRGAN; the `old` kind ends its trunk with a PReLU and counts no batches."""
    features, end = 4, f"block{blocks + 3}"
    tensors = conv_tensors("block1.0", 3, features, 9) | {"block1.1.weight": torch.rand(1)}
    for i in range(2, blocks + 2):
        for n in (1, 2):
            tensors |= conv_tensors(f"block{i}.conv{n}", features, features)
            tensors |= _norm_tensors(f"block{i}.bn{n}", features, counts=not old)
        tensors[f"block{i}.prelu.weight"] = torch.rand(1)
    tensors |= conv_tensors(f"block{blocks + 2}.0", features, features)
    trunk_end = f"block{blocks + 2}.1"
    if old:
        tensors[f"{trunk_end}.weight"] = torch.rand(1)
    else:
        tensors |= _norm_tensors(trunk_end, features, counts=True)
    for n in range(ups):
        tensors |= conv_tensors(f"{end}.{n}.conv", features, 4 * features)
        tensors[f"{end}.{n}.prelu.weight"] = torch.rand(1)
    return tensors | conv_tensors(f"{end}.{ups}", features, 3, 9)


def _norm_tensors(name: str, features: int, *, counts: bool) -> Tensors:
    tensors = {
        f"{name}.weight": 0.5 + torch.rand(features),
        f"{name}.bias": 0.1 * torch.randn(features),
        f"{name}.running_mean": 0.1 * torch.randn(features),
        f"{name}.running_var": 0.5 + torch.rand(features),
    }
    return tensors | ({f"{name}.num_batches_tracked": torch.tensor(41)} if counts else {})


def srgan_output(tensors: Tensors, x: Tensor, *, ups: int = 2, blocks: int = 2) -> Tensor:
    def norm(name: str, x: Tensor) -> Tensor:
        mean, variance = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        scale = tensors[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
        return (x - mean[:, None, None]) * scale[:, None, None] + tensors[f"{name}.bias"][
            :, None, None
        ]

    def prelu(name: str, x: Tensor) -> Tensor:
        return F.prelu(x, tensors[f"{name}.weight"])

    end, trunk_end = f"block{blocks + 3}", f"block{blocks + 2}.1"
    first = features = prelu("block1.1", convolve(tensors, "block1.0", x))
    for i in range(2, blocks + 2):
        hidden = norm(f"block{i}.bn1", convolve(tensors, f"block{i}.conv1", features))
        hidden = prelu(f"block{i}.prelu", hidden)
        features = features + norm(f"block{i}.bn2", convolve(tensors, f"block{i}.conv2", hidden))
    trunk = convolve(tensors, f"block{blocks + 2}.0", features)
    activate = norm if f"{trunk_end}.running_mean" in tensors else prelu
    features = first + activate(trunk_end, trunk)
    for n in range(ups):
        features = F.pixel_shuffle(convolve(tensors, f"{end}.{n}.conv", features), 2)
        features = prelu(f"{end}.{n}.prelu", features)
    return (torch.tanh(convolve(tensors, f"{end}.{ups}", features)) + 1) / 2


def as_torch(content: object, *, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def as_safetensors(tensors: Tensors) -> bytes:
    return safetensors.torch.save(tensors, {"format": "pt"})


def span_tensors(
    *, features: int = 4, blocks: int = 2, scale: int = 2, plain: bool = True
) -> Tensors:
    """SPAN in its training form, gain 2; `plain` without the normalisation of its input."""
    sides = {"conv_1": 3, "conv_2": features}
    sides |= {f"block_{n + 1}.c{k}_r": features for n in range(blocks) for k in (1, 2, 3)}
    tensors: Tensors = {"no_norm": torch.zeros(1)} if plain else {}
    for name, inputs in sides.items():
        tensors |= conv_tensors(f"{name}.sk", inputs, features, 1)
        tensors |= conv_tensors(f"{name}.conv.0", inputs, 2 * inputs, 1)
        tensors |= conv_tensors(f"{name}.conv.1", 2 * inputs, 2 * features)
        tensors |= conv_tensors(f"{name}.conv.2", 2 * features, features, 1)
        # Stands in the files, of an earlier step, and is never used.
        tensors |= conv_tensors(f"{name}.eval_conv", inputs, features)
    tensors |= conv_tensors("conv_cat", 4 * features, features, 1)
    return tensors | conv_tensors("upsampler.0", features, 3 * scale**2)


def span_output(tensors: Tensors, x: Tensor, *, blocks: int = 2, scale: int = 2) -> Tensor:
    def conv(name: str, x: Tensor) -> Tensor:
        row = convolve(tensors, f"{name}.conv.0", F.pad(x, (1, 1, 1, 1)))
        weight, bias = tensors[f"{name}.conv.1.weight"], tensors[f"{name}.conv.1.bias"]
        row = convolve(tensors, f"{name}.conv.2", F.conv2d(row, weight, bias))
        return row + convolve(tensors, f"{name}.sk", x)

    if "no_norm" not in tensors:
        x = (x - torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)) * 255
    shallow = features = conv("conv_1", x)
    outputs = []
    for block in range(1, blocks + 1):
        first = F.silu(conv(f"block_{block}.c1_r", features))
        change = conv(f"block_{block}.c3_r", F.silu(conv(f"block_{block}.c2_r", first)))
        features = (change + features) * (torch.sigmoid(change) - 0.5)
        outputs.append(features)
    joined = torch.cat([shallow, conv("conv_2", features), outputs[0], first], 1)
    joined = convolve(tensors, "upsampler.0", convolve(tensors, "conv_cat", joined))
    return F.pixel_shuffle(joined, scale)

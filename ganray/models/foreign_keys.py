"""Which network a third-party file's tensors make up: their published names and shapes.

Every reader knows one architecture of ganray in all its published namings. It renames the
tensors to ganray's names and tells the network's options from their shapes, or says None.
Whatever no reader knows is left to spandrel.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ganray.models.foreign import Tensors
from ganray.models.span import can_fold, fold
from ganray.models.spandrel_generator import PREFIX, describe_network, load_descriptor


@dataclass(frozen=True)
class Recognised:
    """A network of ganray with its tensors.

    `naming` says whose names the tensors had; `note`, how a choice between two readings fell.
    """

    architecture: str
    naming: str
    options: dict[str, Any]
    tensors: Tensors
    note: str = ""


Options = Mapping[str, Any]
Reader = Callable[[Tensors, Options], Recognised | None]


def recognise(tensors: Tensors, architecture: str, overrides: Options) -> Recognised | None:
    """What the tensors are, or None; `architecture` is a key of READERS, spandrel, or auto.

    `overrides` are options that win over those inferred, and decide between readings. Raises
    CheckpointError or MissingExtraError where only spandrel is left, and cannot tell.
    """
    for name, reader in READERS.items():
        found = reader(tensors, overrides) if architecture in ("auto", name) else None
        if found:
            return found
    return read_by_spandrel(tensors) if architecture in ("auto", "spandrel") else None


def read_rrdb(tensors: Tensors, overrides: Options) -> Recognised | None:
    """RRDBNet as named by BasicSR, by BSRGAN and RealSR, or by the first ESRGAN."""
    namings = {
        "BasicSR": _keep_name,
        "BSRGAN": _name_of_bsrgan,
        "ESRGAN": _names_of_esrgan(tensors),
    }
    for naming, rename in namings.items():
        renamed = {rename(name): tensor for name, tensor in tensors.items()}
        if _is_rrdb(renamed):
            options, note = _options_of_rrdb(renamed, overrides)
            return Recognised("rrdb", naming, options, renamed, note)
    return None


_RRDB_WANTED = {"conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight"}
_RRDB_NAME = re.compile(
    r"(conv_(first|body|hr|last|up\d)|body\.\d+\.rdb[123]\.conv[1-5])\.(weight|bias)"
)
_BSRGAN = (
    (re.compile(r"^RRDB_trunk\.(\d+)\.RDB(\d)\."), r"body.\1.rdb\2."),
    (re.compile(r"^trunk_conv\."), "conv_body."),
    (re.compile(r"^upconv(\d)\."), r"conv_up\1."),
    (re.compile(r"^HRconv\."), "conv_hr."),
)
_ESRGAN_OUTER = re.compile(r"model\.(\d+)\.(?:weight|bias)")
_ESRGAN_BODY = re.compile(r"model\.1\.sub\.(\d+)\.(?:RDB(\d)\.conv(\d)\.0\.)?(weight|bias)")


def _is_rrdb(tensors: Tensors) -> bool:
    return tensors.keys() >= _RRDB_WANTED and all(
        _RRDB_NAME.fullmatch(name) and tensor.ndim == (4 if name.endswith("weight") else 1)
        for name, tensor in tensors.items()
    )


def _keep_name(name: str) -> str:
    return name


def _name_of_bsrgan(name: str) -> str:
    for pattern, replacement in _BSRGAN:
        name = pattern.sub(replacement, name)
    return name


def _names_of_esrgan(tensors: Tensors) -> Callable[[str], str]:
    """The first ESRGAN numbers its outer layers: first, trunk, upsamplings, then the last two."""
    numbers = sorted({int(m[1]) for name in tensors if (m := _ESRGAN_OUTER.fullmatch(name))})
    names = [f"conv_up{position}" for position in range(1, len(numbers) - 2)]
    outer = dict(zip(numbers, ["conv_first", *names, "conv_hr", "conv_last"], strict=False))

    def rename(name: str) -> str:
        if match := _ESRGAN_OUTER.fullmatch(name):
            return f"{outer[int(match[1])]}.{name.rpartition('.')[2]}"
        if not (match := _ESRGAN_BODY.fullmatch(name)):
            return name
        block, dense, conv, kind = match.groups()
        return f"body.{block}.rdb{dense}.conv{conv}.{kind}" if dense else f"conv_body.{kind}"

    return rename


def _options_of_rrdb(tensors: Tensors, overrides: Options) -> tuple[dict[str, Any], str]:
    channels, features = _sides(tensors, "conv_first.weight")
    _, bands = _sides(tensors, "conv_last.weight")
    magnified = 2 ** sum(bool(re.fullmatch(r"conv_up\d\.weight", name)) for name in tensors)
    unshuffle, note = _unshuffle_of_rrdb(channels, bands, magnified, overrides)
    options = {
        "bands": bands,
        "in_bands": channels // unshuffle**2,
        "num_features": features,
        "num_blocks": _count(r"body\.(\d+)\..*", tensors),
        "growth": tensors["body.0.rdb1.conv1.weight"].shape[0],
        "scale": magnified // unshuffle,
        "unshuffle": unshuffle,
    }
    return options, note


def _unshuffle_of_rrdb(
    channels: int, bands: int, magnified: int, overrides: Options
) -> tuple[int, str]:
    """The side of the pixel blocks at the input, and which reading that is if there are two.

    Four or sixteen times the bands may be blocks of pixels (Real-ESRGAN ×2 and ×1) or images
    of one place (satlas).
    """
    images = channels // bands
    unshuffle = {4: 2, 16: 4}.get(images, 1) if channels % bands == 0 else 1
    if unshuffle == 1 or unshuffle > magnified:
        return 1, _note_on_images(images)
    told = _unshuffle_as_told(channels, magnified, overrides)
    if told:
        return told, _note_on_images(images // told**2)
    note = (
        f"its {channels} input channels were read as {bands} bands in blocks of {unshuffle}x"
        f"{unshuffle} pixels (x{magnified // unshuffle}), as Real-ESRGAN does; if they are "
        f"{images} images of {bands} bands (x{magnified}), give the options scale: {magnified}"
    )
    return unshuffle, note


def _note_on_images(images: int) -> str:
    if images < 2:
        return ""
    return f"takes {images} images of one place; a single image is given to it {images} times"


def _unshuffle_as_told(channels: int, magnified: int, overrides: Options) -> int:
    """By the first option that decides, 0 without any; contradictions show on loading."""
    told = {
        name: value for name, value in overrides.items() if isinstance(value, int) and value > 0
    }
    if "unshuffle" in told:
        return told["unshuffle"]
    if "scale" in told:
        return max(1, magnified // told["scale"])
    return max(1, math.isqrt(channels // told["in_bands"])) if "in_bands" in told else 0


def read_compact(tensors: Tensors, overrides: Options) -> Recognised | None:
    """SRVGGNetCompact with PReLU: `body.0` a convolution, `body.1` its activation, …"""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    last = _count(r"body\.(\d+)\.(?:weight|bias)", tensors) - 1
    known = all(re.fullmatch(r"body\.\d+\.(weight|bias)", name) for name in tensors)
    layers = [shapes.get(f"body.{position}.weight", ()) for position in (0, 1, last)]
    if not known or last < 2 or [len(shape) for shape in layers] != [4, 1, 4]:
        return None
    (features, bands, *_), _, (outputs, *_) = layers
    scale = math.isqrt(outputs // bands)
    if last % 2 or outputs != bands * scale**2:
        return None
    num_convs = (last - 2) // 2
    options = {"bands": bands, "num_features": features, "num_convs": num_convs, "scale": scale}
    return Recognised("compact", "BasicSR", options, dict(tensors))


def read_srresnet(tensors: Tensors, overrides: Options) -> Recognised | None:
    """The generator of leftthomas/SRGAN: `block1`, …, whose last is a list of upsamplings."""
    num_blocks = _count(r"block(\d+)\.conv1\.weight", tensors) - 2
    trunk, end = f"block{num_blocks + 2}", f"block{num_blocks + 3}"
    num_upsamplings = _count(rf"{end}\.(\d+)\.conv\.weight", tensors)
    last = f"{end}.{num_upsamplings}"
    wanted = {"block1.0.weight", "block1.1.weight", f"{trunk}.1.weight", f"{last}.weight"}
    if num_blocks < 1 or not wanted <= tensors.keys() or tensors["block1.0.weight"].ndim != 4:
        return None

    def rename(name: str) -> str:
        for old, new in (("block1", "first"), (trunk, "trunk"), (last, "last"), (end, "up")):
            name = re.sub(rf"^{re.escape(old)}\.", f"{new}.", name)
        return re.sub(r"^block(\d+)\.", lambda match: f"blocks.{int(match[1]) - 2}.", name)

    bands, features = _sides(tensors, "block1.0.weight")
    options = {
        "bands": bands,
        "num_features": features,
        "num_blocks": num_blocks,
        "scale": 2**num_upsamplings,
        "trunk_end": "batch_norm" if f"{trunk}.1.running_mean" in tensors else "prelu",
    }
    renamed = {rename(name): tensor for name, tensor in tensors.items()}
    return Recognised("srresnet", "leftthomas/SRGAN", options, renamed)


_SPAN_CONV = re.compile(r"(conv_[12]|block_\d+\.c[123]_r)\.(?:conv|sk|eval_conv)\..*")
_SPAN_PLAIN = re.compile(r"(conv_cat|upsampler\.0)\.(weight|bias)|no_norm")
_SPAN_WANTED = {f"{name}.weight" for name in ("conv_1.sk", "conv_2.sk", "conv_cat", "upsampler.0")}


def read_span(tensors: Tensors, overrides: Options) -> Recognised | None:
    """SPAN in its training form, each convolution of which is folded into one."""
    convs = sorted({match[1] for name in tensors if (match := _SPAN_CONV.fullmatch(name))})
    known = all(_SPAN_CONV.fullmatch(name) or _SPAN_PLAIN.fullmatch(name) for name in tensors)
    if not known or not tensors.keys() >= _SPAN_WANTED:
        return None
    if tensors["conv_cat.weight"].ndim != 4 or not all(can_fold(tensors, name) for name in convs):
        return None
    plain = ("conv_cat", "upsampler")
    folded = {name: tensors[name] for name in tensors if name.startswith(plain)}
    for name in convs:
        folded[f"{name}.weight"], folded[f"{name}.bias"] = fold(tensors, name)
    bands, features = _sides(folded, "conv_1.weight")
    options = {
        "bands": bands,
        "num_features": features,
        "num_blocks": _count(r"block_(\d+)\.c1_r\.weight", folded) - 1,
        "scale": math.isqrt(folded["upsampler.0.weight"].shape[0] // bands),
        "centred": "no_norm" not in tensors,
    }
    return Recognised("span", "BasicSR", options, folded)


def read_by_spandrel(tensors: Tensors) -> Recognised:
    """Any architecture of spandrel's; raises CheckpointError or MissingExtraError."""
    descriptor = load_descriptor(tensors)
    network = describe_network(descriptor)
    loaded = {PREFIX + name: tensor for name, tensor in descriptor.model.state_dict().items()}
    return Recognised("spandrel", network.name, network.model_dump(mode="json"), loaded)


def _sides(tensors: Tensors, name: str) -> tuple[int, int]:
    """Input and output channels of a convolution."""
    shape = tensors[name].shape
    return shape[1], shape[0]


def _count(pattern: str, tensors: Tensors) -> int:
    """One more than the highest number that `pattern` finds in the names; 0 without any."""
    numbers = (re.fullmatch(pattern, name) for name in tensors)
    return max((int(match[1]) for match in numbers if match), default=-1) + 1


READERS: dict[str, Reader] = {
    "rrdb": read_rrdb,
    "compact": read_compact,
    "span": read_span,
    "srresnet": read_srresnet,
}

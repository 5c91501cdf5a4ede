"""The beginning of a file of weights: which kind it is, and ganray's metadata.

No tensor is read here.
"""

import json
from typing import Any

from ganray.errors import CheckpointError

FORMAT = "ganray-checkpoint-1"


def file_kind(data: bytes) -> str:
    """safetensors, torch, or what a file that is surely neither is, in words."""
    if not data:
        return "an empty file"
    if data.startswith(b"PK\x03\x04"):
        return "torch"
    # Asked first: the header's length, in eight bytes, may begin as a pickle does.
    if data[5:9] == b"\0\0\0{":
        return "safetensors"
    if data[:1] == b"\x80":
        return "torch"
    return f"no safetensors and no file of torch.save (its first bytes are {data[:8]!r})"


def is_own(data: bytes) -> bool:
    """Whether it is a checkpoint of ganray's, of this version or another."""
    try:
        return file_kind(data) == "safetensors" and "ganray" in _read_header(data)["__metadata__"]
    except (ValueError, TypeError, KeyError):
        return False


def _read_header(data: bytes) -> Any:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def read_metadata(data: bytes, source: str) -> dict[str, Any]:
    kind = file_kind(data)
    if kind != "safetensors":
        found = "a file of torch.save, a pickle, which can run code" if kind == "torch" else kind
        raise CheckpointError(
            f"{source} is {found}; expected a safetensors checkpoint written by ganray train"
        )
    try:
        header = _read_header(data)
        content = json.loads(header.get("__metadata__", {}).get("ganray", "{}"))
    except (ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{source} ({len(data)} bytes) has no readable safetensors header; expected a "
            "checkpoint written by ganray train"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        names = sorted(set(header) - {"__metadata__"})
        raise CheckpointError(
            f"{source} is a safetensors file with {len(names)} tensors ({', '.join(names[:3])}, "
            "…) and without ganray's metadata; expected one written by ganray train"
        )
    return content

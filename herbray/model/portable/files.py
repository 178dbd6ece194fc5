"""The two files of an encoder: strict reading of its card and of its weights. Reading runs no code."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from .refusal import EncoderRefused

WEIGHTS_FILE: Final = "encoder.safetensors"
"""File of the parameters and running statistics."""

CARD_FILE: Final = "encoder.json"
"""File of the encoder card: all other facts about the encoder."""

DIGEST_KEY: Final = "sha256"
"""Key of the card that holds the digest of its other keys."""

MAX_CARD_BYTES: Final = 8 * 2**20
"""Largest card that is read; 100,000 genera take about 2 MB."""

_REMEDY: Final = "re-run the job that wrote it, or pull it again"
_MAX_HEADER_BYTES: Final = 2**20  # allowance for the header of a weights file
_DTYPES: Final = {torch.float32: "F32", torch.int64: "I64"}


def read_card(folder: str | Path) -> dict[str, Any]:
    """Read `encoder.json` of a folder: strict JSON, a single mapping, no repeated keys.

    Returns:
        The card without its digest. Cards of earlier versions have no digest.

    Raises:
        EncoderRefused: the card is missing, larger than `MAX_CARD_BYTES`, malformed, or changed since it was written.
    """
    path = Path(folder) / CARD_FILE
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise EncoderRefused(f"{path}: {path.stat().st_size:,} bytes; a card may have at most {MAX_CARD_BYTES:,}")
        tree = json.loads(
            path.read_text("utf-8"), object_pairs_hook=_refuse_repeated_keys, parse_constant=_refuse_constant
        )
    except FileNotFoundError:
        raise EncoderRefused(
            f"{path}: no such file; an encoder is a folder with {WEIGHTS_FILE} and {CARD_FILE}"
        ) from None
    except EncoderRefused:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderRefused(f"{path}: not a readable card ({error})") from None
    if not isinstance(tree, dict):
        raise EncoderRefused(f"{path}: a card is a mapping of keys, not a {type(tree).__name__}")
    if tree.pop(DIGEST_KEY, None) not in (None, card_digest(tree)):
        raise EncoderRefused(f"{path}: damaged, it was changed since it was written; {_REMEDY}")
    return tree


def card_digest(tree: dict[str, Any]) -> str:
    """Compute the SHA-256 of a card without its digest: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def check_header(wanted: Mapping[str, Tensor], path: Path) -> None:
    """Check that a safetensors file holds exactly tensors of these names, shapes and types; none is read.

    Raises:
        EncoderRefused: it does not.
    """
    limit = sum(t.numel() * t.element_size() for t in wanted.values()) + _MAX_HEADER_BYTES
    with _named_errors(path):
        if path.stat().st_size > limit:
            raise EncoderRefused(f"{path}: {path.stat().st_size:,} bytes; the card's encoder has at most {limit:,}")
        with safe_open(path, framework="pt") as file:
            _check_names(set(file.keys()), set(wanted), path)
            for name, tensor in wanted.items():
                part = file.get_slice(name)
                found, due = (part.get_dtype(), part.get_shape()), (_DTYPES[tensor.dtype], list(tensor.shape))
                if found != due:
                    raise EncoderRefused(f"{path}: {name} is {found[0]} {found[1]}; expected {due[0]} {due[1]}")


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise EncoderRefused(
            f"{path}: no such file; an encoder is a folder with {WEIGHTS_FILE} and {CARD_FILE}"
        ) from None
    except (OSError, SafetensorError) as error:
        raise EncoderRefused(f"{path}: not a readable safetensors file ({error})") from None


def load_weights(encoder: nn.Module, path: Path, sha256: str = "") -> None:
    """Load the weights of an encoder from a safetensors file that holds exactly its tensors.

    `check_header` is called first.

    Args:
        encoder: encoder that receives the weights.
        path: path of the file.
        sha256: SHA-256 of the file, from its card; empty for cards of earlier versions, which lack it.

    Raises:
        EncoderRefused: the file is missing or damaged, or a tensor is missing, unexpected, of another shape or type, or
            not finite.
    """
    wanted = encoder.state_dict()
    check_header(wanted, path)
    with _named_errors(path):
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in wanted}
        if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise EncoderRefused(f"{path}: damaged, it was changed since it was written; {_REMEDY}")
    check_finite(tensors, path)
    encoder.load_state_dict(tensors, strict=True)


def check_finite(tensors: Mapping[str, Tensor], origin: object) -> None:
    """Raise `EncoderRefused` on the first tensor that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise EncoderRefused(f"{origin}: {name} holds NaN or infinity; the training run diverged")


def _check_names(found: set[str], due: set[str], path: Path) -> None:
    for names, what in ((due - found, "missing"), (found - due, "not part of this encoder")):
        if names:
            shown = ", ".join(sorted(names)[:3])
            raise EncoderRefused(f"{path}: tensors that are {what}: {len(names)}, among them {shown}")


def _refuse_repeated_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"key {key!r} occurs twice")
        tree[key] = value
    return tree


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")

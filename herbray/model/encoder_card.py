"""Encoders on disk: a weights file and an encoder card. Files appear whole or not at all, and reading runs no code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator
from safetensors.torch import save as to_safetensors
from torch import Tensor

from herbray import __version__, storage
from herbray.config import ConfigError, Spec, parse
from herbray.model.portable import (
    CARD_FILE,
    DIGEST_KEY,
    MAX_CARD_BYTES,
    SIZES,
    WEIGHTS_FILE,
    Encoder,
    EncoderRefused,
    build_for,
    card_digest,
    check_finite,
    find_architecture,
    load_weights,
    read_card,
)

__all__ = [
    "EncoderCard",
    "EncoderRefused",
    "read_encoder",
    "save_encoder",
    "serialise_weights",
    "write_card",
    "write_encoder",
]

_OPTIONAL_KEYS: Final = {"geometry", "label", "rank", "start", "weights"}
"""Keys that cards of earlier versions lack."""


class EncoderCard(Spec):
    """The encoder card, `encoder.json`: the facts about an encoder."""

    format_version: Literal[1] = 1
    arch: str
    stem: Literal["standard", "cifar"]
    normalise: bool
    size: int = Field(ge=SIZES[0], le=SIZES[-1], description="input side in pixels")
    geometry: Literal["crop", "pad"] = Field("crop", description="how its training images were made square")
    dim: int = Field(description="length of a feature vector")
    rank: str = Field("genus", description="rank of the names that it was trained on")
    classes: tuple[str, ...] = Field(description="names of the training split, sorted; a label is an index into them")
    objective: str = Field(description="training objective, or none")
    label: str | None = Field(None, description="name that the training gave the encoder; None: that of its objective")
    init: str = Field(description="start weights")
    seed: int
    start: str = Field("", description="fingerprint of the start weights of its training")
    shards_fingerprint: str = Field("", description="fingerprint of the training images")
    citation: str = Field("", description="citation of the training data")
    weights: str = Field("", description="SHA-256 of the weights file that was written with the card")
    spec: dict[str, Any] = Field(default_factory=dict, description="the training job's configuration")
    herbray: str = Field(__version__, description="version that wrote the card")

    @model_validator(mode="after")
    def _check_dim(self) -> Self:
        dim = find_architecture(self.arch).dim
        if self.dim != dim:
            raise ValueError(f"dim is {self.dim}, but features of {self.arch} have length {dim}")
        return self


def save_encoder(folder: Path, encoder: Encoder, card: EncoderCard) -> None:
    """Write `encoder.safetensors` and `encoder.json`. The same encoder and card give the same bytes.

    Raises:
        EncoderRefused: the card describes another encoder, the card is too long, or a weight is not finite.
    """
    for key in ("arch", "stem", "normalise", "size", "dim"):
        if getattr(card, key) != getattr(encoder, key):
            raise EncoderRefused(f"the card says {key}={getattr(card, key)}, the encoder has {getattr(encoder, key)}")
    write_encoder(folder, encoder.state_dict(), card)


def write_encoder(folder: Path, state: Mapping[str, Tensor], card: EncoderCard) -> None:
    """Do what `save_encoder` does from a saved `state_dict`, for an encoder that has been trained further since.

    Raises:
        EncoderRefused: the card is too long, or a weight is not finite.
    """
    weights = serialise_weights(state)
    data = _serialise_card(card.model_copy(update={"weights": hashlib.sha256(weights).hexdigest()}))
    storage.write_bytes(folder / WEIGHTS_FILE, weights)
    storage.write_bytes(folder / CARD_FILE, data)  # last: a folder with a card is complete


def write_card(folder: Path, card: EncoderCard) -> None:
    """Replace the card of an encoder; the digest of the weights in the card does not change.

    Raises:
        EncoderRefused: the card is too long.
    """
    storage.write_bytes(folder / CARD_FILE, _serialise_card(card))


def _serialise_card(card: EncoderCard) -> bytes:
    try:
        tree = card.model_dump(mode="json")
        text = json.dumps({**tree, DIGEST_KEY: card_digest(tree)}, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise EncoderRefused(f"the card cannot be written as JSON: {error}") from None
    data = text.encode() + b"\n"
    if len(data) > MAX_CARD_BYTES:
        raise EncoderRefused(f"the card has {len(data):,} bytes; cards of more than {MAX_CARD_BYTES:,} cannot be read")
    return data


def serialise_weights(state: Mapping[str, Tensor]) -> bytes:
    """Return the content of `encoder.safetensors` for a `state_dict`; the same weights give the same bytes.

    Raises:
        EncoderRefused: a weight is not finite.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    check_finite(tensors, "the encoder")
    return to_safetensors(tensors, metadata={"format": "pt"})


def read_encoder(folder: Path) -> tuple[Encoder, EncoderCard]:
    """Read the files that `save_encoder` wrote, strictly. Neither file can run code.

    Returns:
        The encoder, in evaluation mode, on the CPU; and its card.

    Raises:
        EncoderRefused: a file is missing, damaged or too large; or a key or tensor is missing, unknown, of the wrong
            shape or type, or not finite.
    """
    tree = read_card(folder)
    missing = sorted(EncoderCard.model_fields.keys() - tree.keys() - _OPTIONAL_KEYS)
    if missing:
        raise EncoderRefused(f"{folder / CARD_FILE}: missing keys: {', '.join(missing)}")
    try:
        card = parse(EncoderCard, tree, origin=str(folder / CARD_FILE))
    except ConfigError as error:
        raise EncoderRefused(str(error)) from None
    encoder = build_for(folder / WEIGHTS_FILE, card.arch, card.stem, card.normalise, card.size)
    encoder.geometry = card.geometry
    load_weights(encoder, folder / WEIGHTS_FILE, card.weights)
    return encoder.eval(), card

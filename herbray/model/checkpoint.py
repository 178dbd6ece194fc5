"""Encoders and training states on disk. Files are written under a temporary name and renamed; none runs code."""

import hashlib
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from herbray import __version__, storage
from herbray.config import ConfigError, Spec, parse
from herbray.model.portable import (
    CARD,
    DIMS,
    MAX_CARD_BYTES,
    SEAL,
    SIZES,
    WEIGHTS,
    Arch,
    Encoder,
    EncoderRefused,
    card_digest,
    check_finite,
    load_weights,
    read_card,
)

__all__ = [
    "EncoderCard",
    "EncoderRefused",
    "load_training",
    "read_encoder",
    "save_encoder",
    "save_training",
    "training_state",
    "weights_bytes",
    "write_card",
    "write_encoder",
]

TRAINING_FILE: Final = "training.pt"
"""File of everything that a resumed run needs."""

_OF_DEVICE: Final = {"foreach", "fused", "capturable"}  # of an optimizer: how it computes, not what

_LATER: Final = {"geometry", "label", "start", "weights"}  # keys that cards of earlier versions lack

Position = dict[str, int | float | str]
"""Where a training run stands: counts and figures, named by the loop."""


class EncoderCard(Spec):
    """What is known of an encoder: `encoder.json`."""

    format_version: Literal[1] = 1
    arch: Arch
    stem: Literal["standard", "cifar"]
    normalise: bool
    size: int = Field(ge=SIZES[0], le=SIZES[-1], description="input side in pixels")
    geometry: Literal["crop", "pad"] = Field("crop", description="how the sheets of its training were made square")
    dim: int = Field(description="length of a feature vector")
    classes: tuple[str, ...] = Field(description="genera of the training split, sorted: a label is a place in it")
    objective: str = Field(description="what it was trained by, or none")
    label: str | None = Field(None, description="what its training called it; None: it goes by its objective")
    init: str = Field(description="start weights")
    seed: int
    start: str = Field("", description="fingerprint of the encoder that its training began as")
    shards_fingerprint: str = Field("", description="of the images it was trained on")
    citation: str = Field("", description="of the data it was trained on")
    weights: str = Field("", description="SHA-256 of the file of weights, written with it")
    spec: dict[str, Any] = Field(default_factory=dict, description="the training job's configuration")
    herbray: str = Field(__version__, description="version that wrote the card")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.dim != DIMS[self.arch]:
            raise ValueError(f"dim={self.dim}, but {self.arch} has {DIMS[self.arch]}")
        return self


def save_encoder(folder: Path, encoder: Encoder, card: EncoderCard) -> None:
    """Write `encoder.safetensors` and `encoder.json`. The same encoder and card give the same bytes.

    Raises:
        EncoderRefused: the card tells of another encoder, is too long, or a weight is not finite.
    """
    for key in ("arch", "stem", "normalise", "size", "dim"):
        if getattr(card, key) != getattr(encoder, key):
            raise EncoderRefused(f"the card says {key}={getattr(card, key)}, the encoder has {getattr(encoder, key)}")
    write_encoder(folder, encoder.state_dict(), card)


def write_encoder(folder: Path, state: Mapping[str, Tensor], card: EncoderCard) -> None:
    """`save_encoder` for the `state_dict` of an encoder that has gone on since.

    Raises:
        EncoderRefused: the card is too long, or a weight is not finite.
    """
    weights = weights_bytes(state)
    data = _card_bytes(card.model_copy(update={"weights": hashlib.sha256(weights).hexdigest()}))
    storage.write_bytes(folder / WEIGHTS, weights)
    storage.write_bytes(folder / CARD, data)  # last: a folder with a card is complete


def write_card(folder: Path, card: EncoderCard) -> None:
    """Write the card of an encoder anew; its digest of the weights stays.

    Raises:
        EncoderRefused: the card is too long.
    """
    storage.write_bytes(folder / CARD, _card_bytes(card))


def _card_bytes(card: EncoderCard) -> bytes:
    try:
        tree = card.model_dump(mode="json")
        text = json.dumps({**tree, SEAL: card_digest(tree)}, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise EncoderRefused(f"the card cannot be written as JSON: {error}") from None
    data = text.encode() + b"\n"
    if len(data) > MAX_CARD_BYTES:
        raise EncoderRefused(f"the card has {len(data):,} bytes; at most {MAX_CARD_BYTES:,} would be read back")
    return data


def weights_bytes(state: Mapping[str, Tensor]) -> bytes:
    """What `encoder.safetensors` holds for a `state_dict`; the same weights give the same bytes.

    Raises:
        EncoderRefused: a weight is not finite.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    check_finite(tensors, "the encoder")
    return to_safetensors(tensors, metadata={"format": "pt"})


def read_encoder(folder: Path) -> tuple[Encoder, EncoderCard]:
    """Read what `save_encoder` wrote, strictly. Neither file can run code.

    Returns:
        The encoder, in evaluation mode, on the CPU; and its card.

    Raises:
        EncoderRefused: a file is missing, damaged or too large; a key or tensor is missing, unknown, of another shape
            or type, or not finite.
    """
    tree = read_card(folder)
    missing = sorted(EncoderCard.model_fields.keys() - tree.keys() - _LATER)
    if missing:
        raise EncoderRefused(f"{folder / CARD}: missing keys: {', '.join(missing)}")
    try:
        card = parse(EncoderCard, tree, origin=str(folder / CARD))
    except ConfigError as error:
        raise EncoderRefused(str(error)) from None
    encoder = Encoder(card.arch, card.stem, card.normalise, card.size)
    encoder.geometry = card.geometry
    load_weights(encoder, folder / WEIGHTS, card.weights)
    return encoder.eval(), card


def training_state(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    position: Mapping[str, int | float | str],
    ranks: Tensor | None = None,
) -> dict[str, Any]:
    """Copy everything that a resumed run needs, so that the next step may go on while it is written.

    Args:
        learner: not wrapped in DDP, whose names differ.
        optimizer: of the learner's parameters.
        position: where the run stands.
        ranks: Float64 [ranks, n], what differs from rank to rank.

    Raises:
        ValueError: a position that is no number or string.
    """
    odd = {key: value for key, value in position.items() if type(value) not in (int, float, str)}
    if odd:
        raise ValueError(f"position holds {odd}: give plain numbers and strings, which load without a pickle")
    state = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict(), "position": dict(position)}
    copied: dict[str, Any] = _copied(
        state | {"ranks": torch.empty(0, 0, dtype=torch.double) if ranks is None else ranks}
    )
    return copied


def _copied(value: Any) -> Any:  # noqa: ANN401  (a tree of mappings, lists, numbers and tensors)
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def save_training(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a `training_state`."""
    buffer = io.BytesIO()  # torch's own writer says nothing clear of a full disk
    torch.save(dict(state), buffer)
    storage.write_bytes(folder / TRAINING_FILE, buffer.getbuffer())


def load_training(folder: Path, learner: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Position, Tensor]:
    """Put a learner and its optimizer back to where `training_state` found them.

    Returns:
        The position, and Float64 [ranks, n] of what differed from rank to rank.

    Raises:
        ValueError: no such file, not a training state, one of another learner or optimizer, or numbers that are not
            finite. Learner and optimizer are as they were.
        OSError: the storage did not give it.
    """
    path = folder / TRAINING_FILE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; a checkpoint is a folder that holds it") from None
    except (OSError, MemoryError):  # says nothing of the file: the next try may read it
        raise
    except Exception as error:  # torch raises many kinds for a file that is none of its own
        raise ValueError(f"{path}: not a training state that can be read safely ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.keys() != {"learner", "optimizer", "position", "ranks"}:
        raise ValueError(f"{path}: not a training state")
    position, ranks = _position(state["position"], path), state["ranks"]
    if not isinstance(ranks, Tensor) or ranks.ndim != 2 or not torch.isfinite(ranks).all():
        raise ValueError(f"{path}: not a training state: what differs between ranks is no finite matrix")
    _check_learner(state["learner"], learner, path)
    _check_optimizer(state["optimizer"], optimizer, path)
    learner.load_state_dict(state["learner"], strict=True)
    optimizer.load_state_dict(state["optimizer"])
    return position, ranks


def _position(found: object, path: Path) -> Position:
    if not isinstance(found, dict) or not all(
        type(key) is str and type(value) in (int, float, str) for key, value in found.items()
    ):
        raise ValueError(f"{path}: not a training state: its position is no mapping of numbers and strings")
    return found


def _check_learner(found: object, learner: nn.Module, path: Path) -> None:
    wanted = learner.state_dict()
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        odd = sorted(map(str, found.keys() ^ wanted.keys())) if isinstance(found, dict) else []
        raise ValueError(f"{path}: made by another learner: {', '.join(odd[:3]) or 'no mapping'}")
    for name, tensor in found.items():
        _check_tensor(tensor, wanted[name], name, path)


def _check_optimizer(found: object, optimizer: torch.optim.Optimizer, path: Path) -> None:
    """What torch's own loading lets pass: moments of another shape, and numbers that are not finite."""
    wanted = optimizer.state_dict()
    other = f"{path}: made by another optimizer"
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        raise ValueError(other)
    groups = found["param_groups"]
    try:
        same = [_settings(group) for group in groups] == [_settings(group) for group in wanted["param_groups"]]
        rates = [float(group["lr"]) for group in groups]
        entries = [(int(index), dict(entry)) for index, entry in found["state"].items()]
    except (TypeError, KeyError, AttributeError, ValueError):
        raise ValueError(other) from None
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not same or any(not 0 <= index < len(parameters) for index, _ in entries):
        raise ValueError(f"{other}: its parameters are grouped in another way, or its settings differ")
    if not all(0 <= lr < math.inf for lr in rates):
        raise ValueError(f"{path}: the optimizer's learning rate is {rates[0]}")
    for group, fresh in zip(groups, wanted["param_groups"], strict=True):
        group |= {key: fresh[key] for key in _OF_DEVICE & fresh.keys()}
    moments = {"step", "exp_avg", "exp_avg_sq"}
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) and any(e.keys() != moments for _, e in entries):
        raise ValueError(f"{other}: its moments are not Adam's")
    for index, entry in entries:
        for name, value in entry.items():
            if isinstance(value, Tensor) and value.ndim:
                _check_tensor(value, parameters[index], f"the optimizer's {name}", path)
            elif not isinstance(value, int | float | Tensor) or not math.isfinite(value):
                raise ValueError(f"{path}: the optimizer's {name} is {value}")


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """Of a group of parameters, what a job's settings decide; the rate is set anew at each step."""
    return {key: value for key, value in group.items() if key not in {"lr", *_OF_DEVICE}}


def _check_tensor(tensor: object, wanted: Tensor, name: str, path: Path) -> None:
    if not isinstance(tensor, Tensor) or tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
        told = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(
            f"{path}: made by another learner or optimizer: {name} is {told}, not {wanted.dtype} {tuple(wanted.shape)}"
        )
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{path}: {name} holds NaN or infinity; the run diverged: lower optimizer.lr")

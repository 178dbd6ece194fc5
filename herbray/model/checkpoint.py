"""Encoders and training states on disk. Files are written under a temporary name and renamed; none runs code."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from safetensors.torch import save as to_safetensors
from torch import nn

from herbray import __version__
from herbray.config import ConfigError, Spec, parse
from herbray.model.portable import (
    CARD,
    DIMS,
    MAX_CARD_BYTES,
    SIZES,
    WEIGHTS,
    Arch,
    Encoder,
    EncoderRefused,
    check_finite,
    load_weights,
    read_card,
)

__all__ = ["EncoderCard", "EncoderRefused", "load_training", "read_encoder", "save_encoder", "save_training"]

TRAINING_FILE: Final = "training.pt"
"""File of everything that a resumed run needs."""

Position = dict[str, int | float | str]
"""Where a training run stands: counts and figures, named by the loop."""


class EncoderCard(Spec):
    """What is known of an encoder: `encoder.json`."""

    format_version: Literal[1] = 1
    arch: Arch
    stem: Literal["standard", "cifar"]
    normalise: bool
    size: int = Field(ge=SIZES[0], le=SIZES[-1], description="input side in pixels")
    dim: int = Field(description="length of a feature vector")
    classes: tuple[str, ...] = Field(description="genera of the training split, sorted: a label is a place in it")
    objective: str = Field(description="what it was trained by, or none")
    init: str = Field(description="start weights")
    seed: int
    shards_fingerprint: str = Field("", description="of the images it was trained on")
    citation: str = Field("", description="of the data it was trained on")
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
    tensors = {name: t.detach().cpu().contiguous() for name, t in encoder.state_dict().items()}
    check_finite(tensors, "the encoder")
    try:
        text = json.dumps(card.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise EncoderRefused(f"the card cannot be written as JSON: {error}") from None
    data = text.encode() + b"\n"
    if len(data) > MAX_CARD_BYTES:
        raise EncoderRefused(f"the card has {len(data):,} bytes; at most {MAX_CARD_BYTES:,} would be read back")
    weights = to_safetensors(tensors, metadata={"format": "pt"})
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / WEIGHTS, lambda path: path.write_bytes(weights))
    _replace(folder / CARD, lambda path: path.write_bytes(data))  # last: a folder with a card is complete


def read_encoder(folder: Path) -> tuple[Encoder, EncoderCard]:
    """Read what `save_encoder` wrote, strictly. Neither file can run code.

    Returns:
        The encoder, in evaluation mode, on the CPU; and its card.

    Raises:
        EncoderRefused: a file is missing, damaged or too large; a key or tensor is missing, unknown, of another shape
            or type, or not finite.
    """
    tree = read_card(folder)
    missing = sorted(EncoderCard.model_fields.keys() - tree.keys())
    if missing:
        raise EncoderRefused(f"{folder / CARD}: missing keys: {', '.join(missing)}")
    try:
        card = parse(EncoderCard, tree, origin=str(folder / CARD))
    except ConfigError as error:
        raise EncoderRefused(str(error)) from None
    encoder = Encoder(card.arch, card.stem, card.normalise, card.size)
    load_weights(encoder, folder / WEIGHTS)
    return encoder.eval(), card


def save_training(
    folder: Path,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None,
    position: Mapping[str, int | float | str],
) -> None:
    """Write everything that a resumed run needs.

    Args:
        folder: made if absent.
        learner: not wrapped in DDP, whose names differ.
        optimizer: of the learner's parameters.
        scheduler: or None for a constant rate.
        position: where the run stands.

    Raises:
        ValueError: a position that is no number or string.
    """
    odd = {key: value for key, value in position.items() if type(value) not in (int, float, str)}
    if odd:
        raise ValueError(f"position holds {odd}: give plain numbers and strings, which load without a pickle")
    state = {
        "learner": learner.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": None if scheduler is None else scheduler.state_dict(),
        "position": dict(position),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / TRAINING_FILE, lambda path: torch.save(state, path))


def load_training(
    folder: Path,
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None,
) -> Position:
    """Put a learner, its optimizer and its scheduler back to where `save_training` left them.

    Returns:
        The position.

    Raises:
        ValueError: no such file, not a training state, one of another learner, optimizer or scheduler, or numbers that
            are not finite. Learner and optimizer may have been filled in part.
    """
    path = folder / TRAINING_FILE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; a checkpoint is a folder that holds it") from None
    except Exception as error:  # torch raises many kinds for a file that is none of its own
        raise ValueError(f"{path}: not a training state that can be read safely ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.keys() != {"learner", "optimizer", "scheduler", "position"}:
        raise ValueError(f"{path}: not a training state")
    position = _position(state["position"], path)
    if (state["scheduler"] is None) != (scheduler is None):
        raise ValueError(f"{path}: one of the checkpoint and the run has a scheduler, the other none")
    try:
        learner.load_state_dict(state["learner"], strict=True)
        optimizer.load_state_dict(state["optimizer"])
        if scheduler is not None:
            scheduler.load_state_dict(state["scheduler"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: made by another learner or optimizer: {error}") from None
    _check_filled(learner, optimizer, path)
    return position


def _position(found: object, path: Path) -> Position:
    if not isinstance(found, dict) or not all(
        type(key) is str and type(value) in (int, float, str) for key, value in found.items()
    ):
        raise ValueError(f"{path}: not a training state: its position is no mapping of numbers and strings")
    return found


def _check_filled(learner: nn.Module, optimizer: torch.optim.Optimizer, path: Path) -> None:
    """What torch's own loading lets pass: numbers that are not finite, and moments of another shape."""
    for name, tensor in learner.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity; the run diverged: lower optimizer.lr")
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not isinstance(value, torch.Tensor):
                continue
            if value.ndim and value.shape != parameter.shape:
                shapes = f"{tuple(value.shape)} for a parameter of {tuple(parameter.shape)}"
                raise ValueError(f"{path}: made by another learner or optimizer: {name} is {shapes}")
            if not torch.isfinite(value).all():
                raise ValueError(f"{path}: the optimizer's {name} holds NaN or infinity; the run diverged")


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write under a temporary name beside `path`, then rename: a reader sees the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

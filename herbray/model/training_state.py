"""Training states on disk: everything that a resumed run needs. Loading runs no code."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from herbray import storage

TRAINING_FILE: Final = "training.pt"
"""File name of a training state."""

_DEVICE_SETTINGS: Final = {"foreach", "fused", "capturable"}
"""Optimizer settings that decide how a step is computed, not its result."""

Position = dict[str, int | float | str]
"""How far a training run has come: counts and figures, named by the training loop."""


def copy_training_state(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    position: Mapping[str, int | float | str],
    ranks: Tensor | None = None,
) -> dict[str, Any]:
    """Copy everything that a resumed run needs, so that training can continue while the copy is written.

    Args:
        learner: not wrapped in DDP, which changes parameter names.
        optimizer: of the learner's parameters.
        position: how far the run has come.
        ranks: Float64 [ranks, n], the numbers that differ from rank to rank.

    Raises:
        ValueError: a value of `position` is neither a number nor a string.
    """
    odd = {key: value for key, value in position.items() if type(value) not in (int, float, str)}
    if odd:
        raise ValueError(f"position holds {odd}: give plain numbers and strings, which load without a pickle")
    state = {"learner": learner.state_dict(), "optimizer": optimizer.state_dict(), "position": dict(position)}
    copied: dict[str, Any] = _copy_to_cpu(
        state | {"ranks": torch.empty(0, 0, dtype=torch.double) if ranks is None else ranks}
    )
    return copied


def _copy_to_cpu(value: Any) -> Any:  # noqa: ANN401  (a tree of mappings, lists, numbers and tensors)
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copy_to_cpu(each) for key, each in value.items()}
    return [_copy_to_cpu(each) for each in value] if isinstance(value, list) else value


def save_training_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the result of `copy_training_state`."""
    buffer = io.BytesIO()  # the error of torch's own file writer does not say that the disk is full
    torch.save(dict(state), buffer)
    storage.write_bytes(folder / TRAINING_FILE, buffer.getbuffer())


def load_training_state(folder: Path, learner: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Position, Tensor]:
    """Restore a learner and its optimizer to the state that `copy_training_state` copied.

    Returns:
        The position, and Float64 [ranks, n], the numbers that differed from rank to rank.

    Raises:
        ValueError: the file is missing, is not a training state, belongs to another learner or optimizer, or holds
            numbers that are not finite. Learner and optimizer are unchanged.
        OSError: the storage failed to deliver the file; a retry may succeed.
    """
    path = folder / TRAINING_FILE
    state = _read_state(path)
    position, ranks = _check_position(state["position"], path), state["ranks"]
    if not isinstance(ranks, Tensor) or ranks.ndim != 2 or not torch.isfinite(ranks).all():
        raise ValueError(f"{path}: not a training state: the numbers per rank are not a finite matrix")
    _check_learner(state["learner"], learner, path)
    _check_optimizer(state["optimizer"], optimizer, path)
    learner.load_state_dict(state["learner"], strict=True)
    optimizer.load_state_dict(state["optimizer"])
    return position, ranks


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; a checkpoint is a folder that contains this file") from None
    except (OSError, MemoryError):  # these say nothing about the file: a retry may read it
        raise
    except Exception as error:  # torch raises many kinds of errors for a file of another format
        raise ValueError(f"{path}: not a training state that can be read safely ({type(error).__name__})") from None
    if not isinstance(state, dict) or state.keys() != {"learner", "optimizer", "position", "ranks"}:
        raise ValueError(f"{path}: not a training state")
    return state


def _check_position(found: object, path: Path) -> Position:
    if not isinstance(found, dict) or not all(
        type(key) is str and type(value) in (int, float, str) for key, value in found.items()
    ):
        raise ValueError(f"{path}: not a training state: its position is not a mapping of names to numbers and strings")
    return found


def _check_learner(found: object, learner: nn.Module, path: Path) -> None:
    expected = learner.state_dict()
    if not isinstance(found, dict) or found.keys() != expected.keys():
        odd = sorted(map(str, found.keys() ^ expected.keys())) if isinstance(found, dict) else []
        raise ValueError(f"{path}: made by another learner: {', '.join(odd[:3]) or 'not a mapping'}")
    for name, tensor in found.items():
        _check_tensor(tensor, expected[name], name, path)


def _check_optimizer(found: object, optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Refuse what torch's own loading accepts: moments of the wrong shape, and numbers that are not finite."""
    expected = optimizer.state_dict()
    other = f"{path}: made by another optimizer"
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise ValueError(other)
    groups = found["param_groups"]
    try:
        same = [_select_settings(group) for group in groups] == [
            _select_settings(group) for group in expected["param_groups"]
        ]
        rates = [float(group["lr"]) for group in groups]
        entries = [(int(index), dict(entry)) for index, entry in found["state"].items()]
    except (TypeError, KeyError, AttributeError, ValueError):
        raise ValueError(other) from None
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not same or any(not 0 <= index < len(parameters) for index, _ in entries):
        raise ValueError(f"{other}: the parameter groups or their settings differ")
    if not all(0 <= lr < math.inf for lr in rates):
        raise ValueError(f"{path}: the optimizer's learning rate is {rates[0]}")
    for group, fresh in zip(groups, expected["param_groups"], strict=True):
        group |= {key: fresh[key] for key in _DEVICE_SETTINGS & fresh.keys()}
    moments = {"step", "exp_avg", "exp_avg_sq"}
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW) and any(e.keys() != moments for _, e in entries):
        raise ValueError(f"{other}: its state does not hold Adam's moments")
    for index, entry in entries:
        _check_moments(entry, parameters[index], path)


def _check_moments(entry: Mapping[str, object], parameter: Tensor, path: Path) -> None:
    for name, value in entry.items():
        if isinstance(value, Tensor) and value.ndim:
            _check_tensor(value, parameter, f"the optimizer's {name}", path)
        elif not isinstance(value, int | float | Tensor) or not math.isfinite(value):
            raise ValueError(f"{path}: the optimizer's {name} is {value}")


def _select_settings(group: Mapping[str, Any]) -> dict[str, Any]:
    """Select the settings of a parameter group that the job decides; the learning rate is set at every step."""
    return {key: value for key, value in group.items() if key not in {"lr", *_DEVICE_SETTINGS}}


def _check_tensor(tensor: object, expected: Tensor, name: str, path: Path) -> None:
    if not isinstance(tensor, Tensor) or tensor.shape != expected.shape or tensor.dtype != expected.dtype:
        found = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(
            f"{path}: made by another learner or optimizer: {name} is {found}, "
            f"expected {expected.dtype} {tuple(expected.shape)}"
        )
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{path}: {name} holds NaN or infinity; the run diverged: lower optimizer.lr")

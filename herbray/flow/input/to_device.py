"""Batches on the worker's device, copied while the previous step is still running."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from herbray.flow.cluster.placement import Device
from herbray.flow.input.window_reader import Batch


def choose_device(device: Device) -> torch.device:
    """The device of a process that computes by itself, not as one of several Ray workers.

    Raises:
        ValueError: `device` is cuda, and torch finds no GPU here.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda: torch finds no GPU on this machine; `herbray doctor` says why. Set device=auto")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class DeviceBatch:
    """A batch whose arrays are tensors on the device, except for `rows`; see `Batch`."""

    images: Tensor
    labels: Tensor
    rows: npt.NDArray[np.int64]
    seed: int
    last: bool


def batches_on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[DeviceBatch]:
    """Copy batches to the device; with CUDA, one batch in advance and on a separate stream.

    Images in pinned memory are copied without blocking the caller.
    """
    if device.type != "cuda":
        for batch in batches:
            yield copy_to_device(batch, device)
        return
    copy_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[DeviceBatch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(copy_stream):
            following = copy_to_device(batch, device), copy_stream.record_event()
        if waiting is not None:
            yield _hand_over(*waiting, device)
        waiting = following
    if waiting is not None:
        yield _hand_over(*waiting, device)


def copy_to_device(batch: Batch, device: torch.device) -> DeviceBatch:
    """Copy one batch, on the current stream."""
    images = torch.from_numpy(batch.images).to(device, non_blocking=True)
    labels = torch.from_numpy(batch.labels).to(device, non_blocking=True)
    return DeviceBatch(images, labels, batch.rows, batch.seed, batch.last)


def _hand_over(batch: DeviceBatch, copied: torch.cuda.Event, device: torch.device) -> DeviceBatch:
    """Make the caller's stream wait for the copy, and keep the memory until the caller's work is done."""
    current = torch.cuda.current_stream(device)
    current.wait_event(copied)
    for tensor in (batch.images, batch.labels):
        tensor.record_stream(current)
    return batch

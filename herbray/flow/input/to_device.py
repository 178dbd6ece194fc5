"""Batches on the worker's device: copied while the step before is still computed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from herbray.flow.input.window_reader import Batch


@dataclass(frozen=True)
class DeviceBatch:
    """A batch whose arrays are tensors on the device; see `Batch`."""

    images: Tensor
    labels: Tensor
    seed: int
    last: bool


def batches_on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[DeviceBatch]:
    """Move batches to the device; on CUDA one ahead of the caller, on a stream of its own.

    Images in pinned memory are copied without holding up anyone.
    """
    if device.type != "cuda":
        for batch in batches:
            yield copy_to_device(batch, device)
        return
    beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[DeviceBatch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(beside):
            coming = copy_to_device(batch, device), beside.record_event()
        if waiting is not None:
            yield _hand_over(*waiting, device)
        waiting = coming
    if waiting is not None:
        yield _hand_over(*waiting, device)


def copy_to_device(batch: Batch, device: torch.device) -> DeviceBatch:
    """One batch, on the current stream."""
    images = torch.from_numpy(batch.images).to(device, non_blocking=True)
    labels = torch.from_numpy(batch.labels).to(device, non_blocking=True)
    return DeviceBatch(images, labels, batch.seed, batch.last)


def _hand_over(batch: DeviceBatch, copied: torch.cuda.Event, device: torch.device) -> DeviceBatch:
    """Order the caller's stream behind this copy, and keep the memory until the caller's work is done."""
    current = torch.cuda.current_stream(device)
    current.wait_event(copied)
    for tensor in (batch.images, batch.labels):
        tensor.record_stream(current)
    return batch

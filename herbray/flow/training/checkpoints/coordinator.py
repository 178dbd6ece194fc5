"""Saves and restores a run. Every rank calls every method: the ranks agree, and each contributes its part."""

import errno
import functools
import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor

from herbray.flow.training.checkpoints.directory import CheckpointDirectory, CheckpointWriter
from herbray.flow.training.meter import Meter
from herbray.flow.training.specification import Checkpoints
from herbray.flow.training.world import World
from herbray.model.encoder_card import EncoderCard, write_encoder
from herbray.model.learner import Learner
from herbray.model.sealed_folder import DamagedFolder, verify_sealed
from herbray.model.training_state import copy_training_state, load_training_state, save_training_state

_PREEMPTION_CHECK_S = 2.0
"""Seconds between checks for a preemption notice; a check takes all ranks a few milliseconds."""

_LAG_S = 15.0
"""Seconds that a node may take to see what another node has written."""


class CheckpointCoordinator:
    """What one rank does for the run's checkpoints; without a checkpoint directory, nothing."""

    def __init__(
        self,
        directory: CheckpointDirectory | None,
        world: World,
        leaving: Callable[[], bool] = lambda: False,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Write nothing yet.

        Args:
            directory: of the run's checkpoints.
            world: this rank's place.
            leaving: whether a machine of the ranks will be taken away, alike on all ranks.
            stopping: whether the job has been asked to stop; only rank 0's answer counts.
        """
        self.directory, self.world, self.leaving, self.stopping = directory, world, leaving, stopping
        self.spec = directory.spec if directory else Checkpoints(seconds=None)
        self.reports: list[dict[str, float]] = []
        self._writer = CheckpointWriter(directory) if directory and world.rank == 0 else None
        self._saved = self._looked = time.monotonic()
        self._left = False
        # Ranks exchange numbers over gloo, outside the device's queue: an exchange does not wait for earlier steps.
        self._gloo: Any = None
        if world.size > 1 and world.device.type == "cuda":
            self._gloo = dist.new_group(backend="gloo")

    def __enter__(self) -> Self:
        """Remove what killed writers left."""
        if self.directory and self.world.rank == 0:
            self.directory.clear()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Wait for the last checkpoint; a failure to write it is an error, unless another error is being raised."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as failure:
                if kind is None:
                    raise _with_advice(failure, self._writer.directory.root) from failure

    def restore(self, learner: Learner, optimizer: torch.optim.Optimizer, meter: Meter) -> int:
        """Resume from the newest intact checkpoint, if there is one.

        Returns:
            Windows consumed. `reports` holds the reports since the checkpoint before that one: their receiver may have
            died, so they are repeated.
        """
        if self.directory is None:
            return 0
        kept = self.directory.newest() if self.world.rank == 0 else None
        number = self.agreed(kept.consumed if kept else -1)
        if number < 0:
            return 0
        folder = self.directory.root / f"{number:09d}"
        if self.world.rank:
            _check_same(folder)
        position, ranks = load_training_state(folder, learner, optimizer)
        if self._writer is not None:
            self._writer.durable = number
        self.reports = json.loads(str(position["reports"]))
        buffers = [*learner.buffers()]
        names = str(position["meter"])
        sizes = [*(b.numel() for b in buffers), len(names.split(",")) + 3]
        if ranks.shape[1] != sum(sizes):
            raise ValueError(f"{folder}: made by another learner: {ranks.shape[1]} numbers per rank, not {sum(sizes)}")
        same = len(ranks) == self.world.size  # else the ranks' mean: no rank is the same as before
        mine = ranks[self.world.rank] if same else ranks.mean(0)
        *parts, measured = torch.split(mine, sizes)
        with torch.no_grad():
            for buffer, part in zip(buffers, parts, strict=True):
                buffer.copy_(part.view_as(buffer))
        meter.restore(names, measured)
        return int(position["consumed"])

    def due(self, before: int, consumed: int) -> bool:
        """Whether to write a checkpoint between the ends of epochs; rank 0's clock decides for all ranks.

        Checkpoints are due every half interval: while one is being written, the one before it counts, so that an
        interruption costs at most one interval.
        """
        if self.directory is None:
            return False
        half = max(1, self.spec.windows // 2) if self.spec.windows else None
        by_count = half is not None and consumed // half > before // half
        now = time.monotonic()
        due = self.spec.seconds is not None and now - self._saved >= self.spec.seconds / 2
        answer = self.agreed(2 * (now - self._looked >= _PREEMPTION_CHECK_S) + due)
        if answer >= 2:
            self._looked = now
            leaving, before = self.leaving(), self._left
            self._left = leaving
            if leaving and not before:
                return True
        return by_count or answer % 2 == 1

    def must_stop(self) -> bool:
        """Whether the job has been asked to stop, alike on all ranks."""
        return self.agreed(int(self.world.rank == 0 and self.stopping())) == 1

    def save(
        self,
        learner: Learner,
        optimizer: torch.optim.Optimizer,
        meter: Meter,
        consumed: int,
        figures: Mapping[str, float] | None = None,
        card: EncoderCard | None = None,
    ) -> None:
        """Copy the run's state; a thread writes the copy while training continues.

        Args:
            learner: as it is now.
            optimizer: of its parameters.
            meter: as it is now.
            consumed: windows.
            figures: at an epoch's end.
            card: at an epoch's end; with it, the encoder is written too, ready to be registered.
        """
        if self.directory is None:
            return
        names, measured = meter.state()
        ranks = self._all_rows(torch.cat([*(b.detach().double().flatten().cpu() for b in learner.buffers()), measured]))
        self._saved = time.monotonic()
        reports, self.reports = self.reports, []
        if self._writer is None:
            return
        position: dict[str, int | float | str] = {"consumed": consumed, "meter": names, "reports": json.dumps(reports)}
        state = copy_training_state(learner, optimizer, position, ranks)
        self._writer.begin(consumed, functools.partial(_fill, state, card), figures or {})
        self._saved = time.monotonic()  # after a wait for the previous checkpoint, the next is not due at once

    def keep_up(self, ahead: int) -> None:
        """Wait for the checkpoint being written if training on to `ahead` windows would risk more than an interval.

        With two or more checkpoints per interval, this happens if writing takes longer than half an interval's
        training.
        """
        if self._writer is not None and self.spec.windows and ahead > self._writer.durable + self.spec.windows:
            self._writer.wait()

    def agreed(self, number: int) -> int:
        """Rank 0's number, on all ranks."""
        if self.world.size == 1:
            return number
        shared = torch.tensor(number)
        dist.broadcast(shared, 0, group=self._gloo)
        return int(shared)

    def _all_rows(self, mine: Tensor) -> Tensor:
        """All ranks' rows, on all ranks."""
        if self.world.size == 1:
            return mine[None]
        rows = [torch.empty_like(mine) for _ in range(self.world.size)]
        dist.all_gather(rows, mine, group=self._gloo)
        return torch.stack(rows)


def _check_same(folder: Path) -> None:
    """Check that this node sees the checkpoint that rank 0 has read; a network mount may lag by seconds.

    Raises:
        OSError: this node sees another state; Ray tries again.
    """
    end = time.monotonic() + _LAG_S
    while True:
        try:
            verify_sealed(folder)
        except DamagedFolder as error:
            if time.monotonic() > end:
                where = socket.gethostname()
                raise OSError(errno.ESTALE, f"{error}, as node {where} sees it; rank 0 has read it intact") from None
            time.sleep(0.5)
        else:
            return


def _fill(state: Mapping[str, Any], card: EncoderCard | None, folder: Path) -> None:
    save_training_state(folder, state)
    if card is not None:
        tensors = state["learner"]
        own = "average.encoder." if any(name.startswith("average.") for name in tensors) else "encoder."
        encoder = {name.removeprefix(own): tensor for name, tensor in tensors.items() if name.startswith(own)}
        write_encoder(folder / "encoder", encoder, card)


def _with_advice(failure: OSError, root: Path) -> OSError:
    if isinstance(failure, ConnectionError):
        return failure
    return OSError(
        failure.errno,
        f"{root}: the last checkpoint could not be written ({failure.strerror}); free some space there and "
        "run the same command again: it resumes from the previous checkpoint",
    )

"""Saves a run on its way and takes it up again. Every rank calls every method: ranks agree, and each has a share."""

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
from herbray.model.checkpoint import EncoderCard, load_training, save_training, training_state, write_encoder
from herbray.model.learner import Learner
from herbray.model.sealed import Damaged, opened

_LOOK_S = 2.0
"""So often it is asked whether this machine will be taken away; asking takes all ranks a few milliseconds."""

_LAG_S = 15.0
"""So long a node may take to see what another has written."""


class CheckpointCoordinator:
    """What one rank does for the run's checkpoints; without a store, nothing."""

    def __init__(
        self, store: CheckpointDirectory | None, world: World, leaving: Callable[[], bool] = lambda: False
    ) -> None:
        """Begin; `leaving` says, alike on all ranks, whether a machine of theirs is about to be taken away."""
        self.store, self.world, self.leaving = store, world, leaving
        self.spec = store.spec if store else Checkpoints(seconds=None)
        self.reports: list[dict[str, float]] = []
        self._writer = CheckpointWriter(store) if store and world.rank == 0 else None
        self._saved = self._looked = time.monotonic()
        self._left = False
        # Words between ranks go by gloo, past the device's queue: a question does not wait for the steps before it.
        self._words: Any = None
        if world.size > 1 and world.device.type == "cuda":
            self._words = dist.new_group(backend="gloo")

    def __enter__(self) -> Self:
        """Clean up after writers that were killed."""
        if self.store and self.world.rank == 0:
            self.store.clear()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Wait for the last checkpoint; that it could not be written is an error, unless there is another."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as trouble:
                if kind is None:
                    raise _explained(trouble, self._writer.store.root) from trouble

    def restore(self, learner: Learner, optimizer: torch.optim.Optimizer, meter: Meter) -> int:
        """Go on from the newest whole checkpoint, if there is one.

        Returns:
            Windows consumed. `reports` holds what was told since the checkpoint before that one: who should have
            heard it may have died, so it is to be told again.
        """
        if self.store is None:
            return 0
        kept = self.store.newest() if self.world.rank == 0 else None
        number = self.agreed(kept.consumed if kept else -1)
        if number < 0:
            return 0
        folder = self.store.root / f"{number:09d}"
        if self.world.rank:
            _check_same(folder)
        position, ranks = load_training(folder, learner, optimizer)
        if self._writer is not None:
            self._writer.durable = number
        self.reports = json.loads(str(position["reports"]))
        buffers = [*learner.buffers()]
        names = str(position["meter"])
        sizes = [*(b.numel() for b in buffers), len(names.split(",")) + 3]
        if ranks.shape[1] != sum(sizes):
            raise ValueError(f"{folder}: made by another learner: {ranks.shape[1]} numbers a rank, not {sum(sizes)}")
        same = len(ranks) == self.world.size  # else the ranks' mean: no rank is the one that it was
        mine = ranks[self.world.rank] if same else ranks.mean(0)
        *parts, measured = torch.split(mine, sizes)
        with torch.no_grad():
            for buffer, part in zip(buffers, parts, strict=True):
                buffer.copy_(part.view_as(buffer))
        meter.restore(names, measured)
        return int(position["consumed"])

    def due(self, before: int, consumed: int) -> bool:
        """Whether a checkpoint should be made between epochs' ends; rank 0's clock decides for all.

        Every half interval: while one is written the one before counts, and the two halves together are the interval.
        """
        if self.store is None:
            return False
        half = max(1, self.spec.windows // 2) if self.spec.windows else None
        by_count = half is not None and consumed // half > before // half
        now = time.monotonic()
        old = self.spec.seconds is not None and now - self._saved >= self.spec.seconds / 2
        say = self.agreed(2 * (now - self._looked >= _LOOK_S) + old)
        if say >= 2:
            self._looked = now
            leaving, known = self.leaving(), self._left
            self._left = leaving
            if leaving and not known:
                return True
        return by_count or say % 2 == 1

    def save(
        self,
        learner: Learner,
        optimizer: torch.optim.Optimizer,
        meter: Meter,
        consumed: int,
        figures: Mapping[str, float] | None = None,
        card: EncoderCard | None = None,
    ) -> None:
        """Copy the run's state and write it beside the steps that follow.

        Args:
            learner: as it is now.
            optimizer: of its parameters.
            meter: as it is now.
            consumed: windows.
            figures: at an epoch's end.
            card: at an epoch's end: the encoder is written too, ready to be registered.
        """
        if self.store is None:
            return
        names, measured = meter.state()
        ranks = self._gathered(torch.cat([*(b.detach().double().flatten().cpu() for b in learner.buffers()), measured]))
        self._saved = time.monotonic()
        reports, self.reports = self.reports, []
        if self._writer is None:
            return
        position: dict[str, int | float | str] = {"consumed": consumed, "meter": names, "reports": json.dumps(reports)}
        state = training_state(learner, optimizer, position, ranks)
        self._writer.begin(consumed, functools.partial(_fill, state, card), figures or {})
        self._saved = time.monotonic()  # where the one before was waited for, the next is not due at once

    def keep_up(self, ahead: int) -> None:
        """Wait for the checkpoint under way, if training on to `ahead` windows would risk more than an interval.

        With two and more checkpoints an interval, that is where writing is slower than half an interval's training.
        """
        if self._writer is not None and self.spec.windows and ahead > self._writer.durable + self.spec.windows:
            self._writer.wait()

    def agreed(self, number: int) -> int:
        """Rank 0's number, on all ranks."""
        if self.world.size == 1:
            return number
        told = torch.tensor(number)
        dist.broadcast(told, 0, group=self._words)
        return int(told)

    def _gathered(self, mine: Tensor) -> Tensor:
        """All ranks' rows, on all ranks."""
        if self.world.size == 1:
            return mine[None]
        rows = [torch.empty_like(mine) for _ in range(self.world.size)]
        dist.all_gather(rows, mine, group=self._words)
        return torch.stack(rows)


def _check_same(folder: Path) -> None:
    """Other nodes read what rank 0 has found whole over mounts of their own, which may lag behind by seconds.

    Raises:
        OSError: they do not see the same; Ray tries again.
    """
    end = time.monotonic() + _LAG_S
    while True:
        try:
            opened(folder)
        except Damaged as error:
            if time.monotonic() > end:
                where = socket.gethostname()
                raise OSError(errno.ESTALE, f"{error}, as node {where} sees it; rank 0 has read it whole") from None
            time.sleep(0.5)
        else:
            return


def _fill(state: Mapping[str, Any], card: EncoderCard | None, folder: Path) -> None:
    save_training(folder, state)
    if card is not None:
        own = "encoder."
        encoder = {n.removeprefix(own): t for n, t in state["learner"].items() if n.startswith(own)}
        write_encoder(folder / "encoder", encoder, card)


def _explained(trouble: OSError, root: Path) -> OSError:
    return OSError(
        trouble.errno,
        f"{root}: the last checkpoint could not be written ({trouble.strerror}); make room there and "
        "give the same command again: it goes on from the checkpoint before",
    )

"""Means of the values that the steps of all ranks return, from one report to the next."""

import math
import time
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from herbray.flow.training.world import World


class Meter:
    """Means since the last report, over all ranks. Reads nothing from the device until a report is due."""

    def __init__(self, world: World) -> None:
        """Start with nothing measured."""
        self.world = world
        self.sums: dict[str, Tensor] = {}
        self._restart()

    def _restart(self) -> None:
        self.sums = {name: torch.zeros_like(value) for name, value in self.sums.items()}
        self.steps, self.rows, self._earlier, self._since = 0.0, 0.0, 0.0, time.monotonic()

    def add(self, out: Mapping[str, Tensor], rows: int) -> None:
        """Add one step of this rank, on so many rows."""
        for name, value in out.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.float()
        self.steps += 1
        self.rows += rows

    def figures(self) -> dict[str, float]:
        """The means, `images_per_s` among them, and a reset; called on every rank.

        Raises:
            FloatingPointError: the loss is not finite.
        """
        names = sorted(self.sums)
        counts = torch.tensor([self.steps, self.rows], dtype=torch.double, device=self.world.device)
        totals = torch.cat([self._totals(names), counts])
        if self.world.size > 1:
            dist.all_reduce(totals)
        *sums, steps, rows = totals.tolist()
        figures = {f"train_{name}": value / max(1.0, steps) for name, value in zip(names, sums, strict=True)}
        if not math.isfinite(figures["train_loss"]):
            raise FloatingPointError(f"the training loss is {figures['train_loss']}: lower optimizer.lr")
        figures["images_per_s"] = rows / max(1e-9, self._seconds())
        self._restart()
        return figures

    def state(self) -> tuple[str, Tensor]:
        """What a resumed run needs to report the same figures: names, and Float64 [names + 3] of this rank."""
        names = sorted(self.sums)
        counts = torch.tensor([self.steps, self.rows, self._seconds()], dtype=torch.double)
        return ",".join(names), torch.cat([self._totals(names).cpu(), counts])

    def restore(self, names: str, values: Tensor) -> None:
        """Restore what `state` returned."""
        *sums, steps, rows, earlier = values.tolist()
        device = self.world.device
        kept = [name for name in names.split(",") if name]
        self.sums = {n: torch.tensor(v, dtype=torch.float, device=device) for n, v in zip(kept, sums, strict=True)}
        self.steps, self.rows, self._earlier, self._since = steps, rows, earlier, time.monotonic()

    def skip(self) -> None:
        """Leave out the time until now: it was not spent on steps."""
        if not self.steps:
            self._since = time.monotonic()

    def _totals(self, names: list[str]) -> Tensor:
        """All sums as one tensor, so that they are copied from the device at once."""
        return torch.stack([self.sums[name] for name in names]).double()

    def _seconds(self) -> float:
        return self._earlier + time.monotonic() - self._since

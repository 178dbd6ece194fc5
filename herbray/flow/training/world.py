"""A worker's place among the others."""

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class World:
    """A worker's place among the others."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    local_size: int = 1  # workers on this machine, this one counted

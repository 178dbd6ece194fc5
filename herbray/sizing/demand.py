"""What a verb needs, and how long that takes: pure functions of counts, bytes and rates.

Parts of a verb run at the same time: images are fetched while others are decoded and others computed. So the part that
needs most seconds sets the pace, and the seconds of the others are hidden behind it. What comes before or after is
added.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from herbray.sizing.specification import Cluster

Resource = Literal["network", "disk", "decode", "CPU", "GPU", "checkpoint"]

GRADIENT_BYTES: Final = 4
"""Of one parameter, exchanged in float32."""

STATE_BYTES: Final = 16
"""Of one parameter on the device: weight, gradient and the optimizer's two moments, in float32."""

CHECKPOINT_BYTES: Final = 12
"""Of one parameter in a checkpoint: weight and two moments, in float32."""


@dataclass(frozen=True)
class Traffic:
    """Bytes that the whole cluster reads from the store, and writes to it.

    Attributes:
        read: bytes.
        written: bytes.
    """

    read: float = 0.0
    written: float = 0.0


@dataclass(frozen=True)
class Demand:
    """What one verb needs.

    Attributes:
        verb: its name.
        images: sheets or images that are processed, repeats included; rows for catalogue and evaluate.
        steps: of training; files for shard and embed, probes for evaluate.
        traffic: with the store.
        seconds: of each resource, were it alone; None: a rate is missing.
        alone: seconds during which nothing else runs: the start, and what one process does before and after.
        memory: bytes of data that a node holds at once, without Python and its libraries.
        device: bytes of one GPU's memory.
        missing: commands that would measure the missing rates.
    """

    verb: str
    images: int
    steps: int
    traffic: Traffic
    seconds: Mapping[Resource, float | None]
    alone: float = 0.0
    memory: float = 0.0
    device: float = 0.0
    missing: tuple[str, ...] = field(default=())

    @property
    def total_s(self) -> float | None:
        """Seconds from call to end; None if a rate is missing."""
        parts = [each for each in self.seconds.values() if each is not None]
        return None if self.missing or len(parts) < len(self.seconds) else self.alone + max(parts, default=0.0)

    @property
    def binds(self) -> str:
        """The resource that sets the pace; "start" if nothing else takes longer; "" if a rate is missing."""
        if self.total_s is None:
            return ""
        pace = max(self.seconds, key=lambda name: self.seconds[name] or 0.0)
        return pace if (self.seconds[pace] or 0.0) >= self.alone else "start"


def transfer_s(traffic: Traffic, cluster: Cluster) -> dict[Resource, float]:
    """Seconds of the network for traffic that all nodes share equally; of the disk if there is no network.

    Reading and writing use both directions of the network at once, but take turns on a disk.

    Args:
        traffic: bytes of the whole cluster.
        cluster: rates in 10⁶ bytes per second.
    """
    if cluster.network_mb_s is None:
        return {"disk": (traffic.read + traffic.written) / (cluster.nodes * cluster.disk_mb_s * 1e6)}
    rate = cluster.nodes * cluster.network_mb_s
    rate = min(rate, cluster.store_mb_s or rate)
    return {"network": max(traffic.read, traffic.written) / (rate * 1e6)}


def schedule_s(total: float, longest: float, slots: float) -> float:
    """Seconds of tasks of any length on equal slots, each started as soon as a slot is free.

    It is Graham's bound: at worst, the longest task starts when the others have just kept every slot busy.

    Args:
        total: seconds of all tasks on one slot.
        longest: seconds of the longest one.
        slots: number of tasks that run at once.
    """
    return (total - longest) / max(1, math.floor(slots)) + longest


def ring_bytes(parameters: int, nodes: int) -> float:
    """Bytes that a node sends, and receives, to average gradients over nodes once: 2 (n - 1) / n of them (ring)."""
    return 2 * (nodes - 1) / nodes * parameters * GRADIENT_BYTES


def steps_of_epoch(bags: int, groups: int, batch: int, group: int, window: int, align: int) -> int:
    """Batches of an epoch, all ranks together, as `herbray.data.planning.plan.plan_epoch` cuts them.

    Args:
        bags: of the training split.
        groups: of rows that lie side by side in a batch.
        batch: rows of a batch.
        group: rows of a group.
        window: bags of a window.
        align: the number of windows is a multiple of it.
    """
    windows = math.ceil(math.ceil(bags / window) / align) * align
    return windows * math.ceil(math.ceil(groups / (batch // group)) / windows)


def expected_bags(images: int, labels: int, bag: int) -> int:
    """Bags of a split whose label sizes are unknown: the last bag of each label is half empty on average.

    Args:
        images: of the split.
        labels: of the split.
        bag: most images of a bag.
    """
    return min(images, max(labels, math.ceil(images / bag + labels / 2 * (1 - 1 / bag))))


def expected_groups(images: int, labels: int, group: int) -> int:
    """Groups of rows of a split: the last bag of each label fills its last group with repeated rows.

    Args:
        images: of the split.
        labels: of the split.
        group: rows of a group; divides the rows of a full bag.
    """
    return math.ceil(images / group + labels * (group - 1) / (2 * group))


def checkpoint_count(epochs: int, seconds: float, interval: float | None) -> int:
    """Checkpoints of a training: one per epoch, and one per half interval.

    Args:
        epochs: of the training.
        seconds: that it takes.
        interval: seconds that an interruption may cost; None: no limit.
    """
    return epochs + (math.floor(seconds / (interval / 2)) if interval else 0)


def fetched_bytes(split: float, epochs: int, cluster: Cluster) -> float:
    """Bytes that all nodes together read from the store in a training.

    A node whose memory (half of it) or disk holds the whole split fetches each byte once; else the nodes fetch the
    split anew in each epoch. Over epochs, every node needs all of it, because windows are dealt anew.

    Args:
        split: bytes of the training split.
        epochs: passes over it.
        cluster: its nodes.
    """
    holds = split <= max(cluster.memory_gb / 2, cluster.disk_gb) * 1e9
    return min(epochs, cluster.nodes) * split if holds else epochs * split

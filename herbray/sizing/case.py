"""What is planned, with the rates that fit it: images per second of all devices, and of all cores that decode."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from herbray.benchmark.contests.network_size import NetworkSize
from herbray.sizing.counts import Counts
from herbray.sizing.demand import Resource
from herbray.sizing.rates import Rate, RateFinder, Work, scale_decode
from herbray.sizing.specification import Cluster, Plan

Facts = Mapping[str, object]

_KEEPS_UP: Final = 0.95
"""If the step fed from shards is at least so fast, as a share of the bare step, the loader's limit was not reached."""


@dataclass(frozen=True)
class Case:
    """What is planned.

    Attributes:
        plan: all settings.
        counts: of the collection.
        network: of the training.
        rates: where rates are found.
    """

    plan: Plan
    counts: Counts
    network: NetworkSize
    rates: RateFinder

    @property
    def cluster(self) -> Cluster:
        """The machines."""
        return self.plan.cluster

    @property
    def cores(self) -> int:
        """CPU cores of all nodes."""
        return self.cluster.nodes * self.cluster.cpus

    @property
    def gpus(self) -> int:
        """GPUs of all nodes."""
        return self.cluster.nodes * self.cluster.gpus

    @property
    def device(self) -> str:
        """That computes: the GPU's name, or "cpu"."""
        return self.cluster.gpu if self.gpus else "cpu"

    @cached_property
    def image_bytes(self) -> float:
        """Of a JPEG in the shards."""
        if self.plan.collection.image_kb is not None:
            return self.plan.collection.image_kb * 1e3
        found = self.shard_rate()
        if found is None or not found.bytes:
            self.rates.missing["herbray plan measure=true, or set collection.image_kb"] = None
            return 0.0
        return found.bytes

    def shard_rate(self) -> Rate | None:
        """Of sheets of this size to shards of this side."""
        advice = "herbray plan measure=true collection.catalogue=FOLDER"
        return self.rates.find("shard", advice, sheet_px=self.counts.sheet_px, px=self.plan.shard.side)

    def start_s(self, verb: str) -> float:
        """Seconds before a verb works; 0 if not measured: it is little beside hours."""
        found = self.rates.find("start", name=verb)
        return 1 / found.per_s if found else 0.0


def step_facts(case: Case) -> Facts:
    """What a rate of the training's step must have in common with the plan."""
    spec = case.plan.train
    return {"arch": spec.encoder.arch, "objective": spec.objective.name, "px": spec.encoder.size}


def forward_facts(case: Case) -> Facts:
    """What a rate of the encoder's forward pass must have in common with the plan."""
    return {"arch": case.plan.train.encoder.arch, "px": case.plan.train.encoder.size}


def compute(case: Case, images: int, works: tuple[Work, Work], facts: Facts) -> dict[Resource, float | None]:
    """Seconds that all devices together need for images, and seconds of decoding.

    Args:
        case: what is planned.
        images: number of them.
        works: on pixels that are ready, and from shards.
        facts: of the network.
    """
    name = "step" if works[0] == "step" else "embed"
    more = f" 'objectives=[\"{facts['objective']}\"]'" if name == "step" else ""
    size = f"size={facts['px']}" if name == "step" else f"'sizes=[{facts['px']}]'"
    advice = f"herbray benchmark {name} arch={facts['arch']} {size}{more}, on a node with {case.device}"
    bare, fed = (case.rates.find(work, advice, device=case.device, **facts) for work in works)
    decode = case.rates.find("decode", "herbray plan measure=true", px=case.plan.shard.side)
    decoding = scale_decode(decode, case.plan.shard.side, case.counts.aspect) * case.cores if decode else None
    if not case.gpus:
        return {"CPU": divide(images, fed.per_core_s * case.cores if fed else None), "decode": divide(images, decoding)}
    feeding = _loader_limit(bare, fed)
    limits = [feeding * case.gpus if feeding else None, decoding]
    return {
        "GPU": divide(images, bare.per_s * case.gpus if bare else None),
        "decode": None if None in limits else max(divide(images, each) or 0.0 for each in limits),
    }


def _loader_limit(bare: Rate | None, fed: Rate | None) -> float | None:
    """Images per second that one process can read and decode; infinite if its device was slower than that."""
    if bare is None or fed is None:
        return None
    return fed.per_s if fed.per_s < _KEEPS_UP * bare.per_s else math.inf


def divide(amount: float, rate: float | None) -> float | None:
    """Seconds of an amount at a rate per second; None if there is no rate."""
    return None if rate is None else amount / rate


def add(first: float | None, second: float | None) -> float | None:
    """The sum; None if a part is missing."""
    return None if first is None or second is None else first + second

"""`herbray plan`: prints what each verb will need on a cluster, how long it will take, and what limits it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from herbray import storage
from herbray.benchmark.contests.network_size import measure_network
from herbray.sizing.case import Case
from herbray.sizing.counts import count_collection
from herbray.sizing.demand import Demand
from herbray.sizing.measure import measure_rates
from herbray.sizing.rates import Rate, RateFinder, write_rates
from herbray.sizing.records import read_rates
from herbray.sizing.specification import Plan
from herbray.sizing.starts import measure_starts
from herbray.sizing.table import format_time, print_plan
from herbray.sizing.verbs import plan_verbs

__all__ = ["Plan", "Planned", "make_plan", "plan"]


@dataclass(frozen=True)
class Planned:
    """A plan: what each verb needs, and the rates that were used."""

    demands: tuple[Demand, ...]
    rates: tuple[Rate, ...]

    def __str__(self) -> str:
        """The time of all verbs together, and the longest of them."""
        known = [demand for demand in self.demands if demand.total_s is not None]
        unknown = [demand.verb for demand in self.demands if demand.total_s is None]
        more = f"; not measured: {', '.join(unknown)}" if unknown else ""
        if not known:
            return f"nothing can be planned{more}"
        longest = max(known, key=lambda demand: demand.total_s or 0.0)
        total = sum(demand.total_s or 0.0 for demand in known)
        return f"{format_time(total)} in all, most of it {longest.verb} ({longest.binds} binds){more}"


def plan(spec: Plan) -> Planned:
    """Measure, if asked to, then plan, print the table and write `out/plan.json`.

    Raises:
        ValueError: nothing to plan for, or a catalogue or a file of rates that cannot be read.
    """
    if spec.measure:
        rates = measure_rates(spec)
        rates += measure_starts(spec, rates) if spec.starts else ()
        write_rates(rates, spec.out / "rates.json")
        spec = spec.model_copy(update={"rates": (spec.out / "rates.json", *spec.rates)})
    done = make_plan(spec)
    print_plan(done.demands, done.rates)
    storage.write_text(spec.out / "plan.json", json.dumps(_to_json(spec, done.demands), indent=1) + "\n")
    return done


def make_plan(spec: Plan) -> Planned:
    """Plan from rates that were measured earlier; reads files, and writes none."""
    check_fit(spec)
    counts = count_collection(spec.collection, spec.shard)
    classes = counts.splits["train"].classes.get("genus", 2) if "train" in counts.splits else 2
    finder = RateFinder(read_rates(spec.rates))
    demands = plan_verbs(Case(spec, counts, measure_network(spec.train, max(2, classes)), finder))
    return Planned(tuple(demands), tuple(finder.used))


def check_fit(spec: Plan) -> None:
    """Refuse settings that do not fit together.

    Raises:
        ValueError: the shards are smaller than the encoder's input, or several nodes have no network.
    """
    if spec.shard.side < spec.train.encoder.size:
        raise ValueError(f"shard.side={spec.shard.side} px is less than train.encoder.size={spec.train.encoder.size}")
    if spec.cluster.nodes > 1 and spec.cluster.network_mb_s is None:
        raise ValueError("cluster.network_mb_s=null means data on the only node's disk: give a rate, or set nodes=1")


def _to_json(spec: Plan, demands: Sequence[Demand]) -> dict[str, object]:
    verbs = [asdict(demand) | {"total_s": demand.total_s, "binds": demand.binds} for demand in demands]
    return {"settings": spec.model_dump(mode="json"), "verbs": verbs}

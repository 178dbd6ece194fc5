"""How long each command takes to start: the time of a tiny job, without what its work takes at the measured rates."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console

from herbray.benchmark.contests.network_size import measure_network
from herbray.benchmark.harness.race import cpu_seconds
from herbray.config import Spec
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.sources.folder import Folder
from herbray.data.sources.synthetic import Synthetic
from herbray.data.splitting.splits import Splits
from herbray.flow.evaluation.job import Evaluate
from herbray.sizing.case import Case
from herbray.sizing.counts import count_collection
from herbray.sizing.demand import Demand
from herbray.sizing.measure import Spent, rate_of
from herbray.sizing.rates import Rate, RateFinder
from herbray.sizing.specification import Cluster, Collection, Plan
from herbray.sizing.verbs import plan_verbs
from herbray.tasks.identify import Identify

_SHEETS: Final = 96
_TIMEOUT_S: Final = 1800
_LEAST_S: Final = 0.1
_CODE: Final = "import sys; from herbray.cli import main; main(sys.argv[1:])"


def measure_starts(spec: Plan, rates: Sequence[Rate]) -> Iterator[Rate]:
    """Run each verb once on a few drawn sheets, as commands on this machine.

    Args:
        spec: the plan; the commands take its settings.
        rates: measured on this machine; the expected work is subtracted.

    Raises:
        RuntimeError: a command failed; the message ends with what it printed.
    """
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="herbray-plan-") as folder:
        work = Path(folder)
        tiny = prepare_tiny(spec, work)
        expected = expect(tiny, rates)
        for verb, settings in job_settings(tiny, work).items():
            console.print(f"plan: measuring the start of {verb} …", markup=False)
            yield measure_start(verb, settings, work, expected[verb])


def measure_start(verb: str, settings: Spec, work: Path, expected: Demand) -> Rate:
    """Run a verb on few sheets, and subtract the time that its work is expected to take."""
    spent = run_verb(verb, settings, work)
    wall = max(_LEAST_S, spent.wall_s - (expected.total_s or 0.0))
    return rate_of("start", 1, Spent(wall, wall * min(1.0, spent.cpu_s / spent.wall_s)), name=verb)


def prepare_tiny(spec: Plan, work: Path, sheets: int = _SHEETS, px: int = 160, epochs: int = 1) -> Plan:
    """Draw a small herbarium in `work/herbarium`, and return the plan for it on this machine.

    Its data lies on the machine's own disk. Half of its sheets train or validate; the others are the random test.
    """
    source = Synthetic(path=work / "herbarium", sheets=sheets, size=px, genera=4, species=8, families=2, orders=2)
    catalogue.build(Catalogue(source=source, out=work / "catalogue"))
    splits = Splits(cap=None, home=None, species=0, random=0.5, validation=0.2)
    changed = {
        "collection": Collection(catalogue=work / "catalogue"),
        "cluster": Cluster(network_mb_s=None, cpus=os.cpu_count() or 1, gpus=0),
        "shard": spec.shard.model_copy(
            update={"splits": splits, "catalogue": work / "catalogue", "out": work / "shards"}
        ),
        "train": spec.train.model_copy(
            update={"shards": work / "shards", "out": work / "train", "store": work, "epochs": epochs}
        ),
        "embed": spec.embed.model_copy(
            update={
                "model": str(work / "train" / "encoder"),
                "shards": work / "shards",
                "out": work / "embeddings",
                "splits": ("random",),
                "store": work,
            }
        ),
        "evaluate": Evaluate(
            embeddings=(work / "embeddings",),
            tasks=(Identify(splits=("random",)),),
            out=work / "results.parquet",
            store=work,
        ),
    }
    return spec.model_copy(update=changed)


def job_settings(spec: Plan, work: Path) -> dict[str, Spec]:
    """The settings of each verb for a plan of `prepare_tiny`, in the order in which they are run."""
    listed = Catalogue(source=Folder(path=work / "herbarium"), out=work / "catalogue")
    stages = {name: getattr(spec, name) for name in ("shard", "train", "embed", "evaluate")}
    return {"catalogue": listed, **stages}


def to_yaml(spec: Spec) -> dict[str, Any]:
    """The settings that were given, and the names of alternatives, as values of YAML.

    Defaults are left out: a split that a file names must not be empty.
    """
    tree = spec.model_dump(mode="json", exclude_unset=True)
    for name in tree:
        value = getattr(spec, name)
        if isinstance(value, Spec):
            tree[name] = to_yaml(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Spec):
            tree[name] = [to_yaml(each) for each in value]
    return tree | ({"name": spec.name} if hasattr(spec, "name") else {})


def expect(spec: Plan, rates: Sequence[Rate], loaded: bool = True) -> dict[str, Demand]:
    """What each verb of a plan needs at these rates alone; for `loaded` see `RateFinder`."""
    counts = count_collection(spec.collection, spec.shard)
    network = measure_network(spec.train, counts.splits["train"].classes["genus"])
    return {demand.verb: demand for demand in plan_verbs(Case(spec, counts, network, RateFinder(rates, loaded)))}


def run_verb(verb: str, settings: Spec, work: Path) -> Spent:
    """Run a verb as a command.

    Raises:
        RuntimeError: it failed; the message ends with what it printed.
    """
    file = work / f"{verb}.yaml"
    file.write_text(yaml.safe_dump(to_yaml(settings)), encoding="utf-8")
    start, before = time.perf_counter(), cpu_seconds()
    done = subprocess.run(  # noqa: S603  (our own module)
        [sys.executable, "-c", _CODE, verb, str(file)], capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    spent = Spent(time.perf_counter() - start, cpu_seconds() - before)
    if done.returncode:
        raise RuntimeError(f"herbray {verb} {file} failed:\n{done.stderr[-2000:]}")
    return spent

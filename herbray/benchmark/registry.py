"""The list of benchmarks. A new one is a file in `contests/` and a line in `BENCHMARKS` and `AnyBenchmark`."""

from typing import Annotated, Final

from pydantic import Field

from herbray.benchmark.contests.embed import EmbedRate
from herbray.benchmark.contests.halfearth.contest import HalfEarthRun
from herbray.benchmark.contests.ingest.contest import Ingest
from herbray.benchmark.contests.input.contest import Input
from herbray.benchmark.contests.knn import Knn
from herbray.benchmark.contests.probe import Probe
from herbray.benchmark.contests.scale import Scale
from herbray.benchmark.contests.search import SearchRows
from herbray.benchmark.contests.step import Step
from herbray.benchmark.contests.train import TrainLoop
from herbray.benchmark.contests.triplet import TripletStep
from herbray.benchmark.harness.spec import BenchmarkSpec

__all__ = ["BENCHMARKS", "AnyBenchmark", "BenchmarkSpec"]

BENCHMARKS: Final[dict[str, type[BenchmarkSpec]]] = {
    "ingest": Ingest,
    "input": Input,
    "triplet": TripletStep,
    "step": Step,
    "train": TrainLoop,
    "embed": EmbedRate,
    "knn": Knn,
    "search": SearchRows,
    "probe": Probe,
    "scale": Scale,
    "halfearth": HalfEarthRun,
}
"""Name of a benchmark → its settings."""

AnyBenchmark = Annotated[
    Ingest | Input | TripletStep | Step | TrainLoop | EmbedRate | Knn | SearchRows | Probe | Scale | HalfEarthRun,
    Field(discriminator="name"),
]
"""Type of a setting that may be any benchmark."""

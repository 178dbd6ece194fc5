"""The benchmarks. A new one is a file in this folder and a line in `BENCHMARKS` and `AnyBenchmark`."""

from typing import Annotated, Final

from pydantic import Field

from herbray.benchmark.embed import EmbedRate
from herbray.benchmark.ingest import Ingest
from herbray.benchmark.input import Input
from herbray.benchmark.knn import Knn
from herbray.benchmark.scale import Scale
from herbray.benchmark.spec import BenchmarkSpec
from herbray.benchmark.step import Step
from herbray.benchmark.train import TrainLoop
from herbray.benchmark.triplet import TripletStep

__all__ = ["BENCHMARKS", "AnyBenchmark", "BenchmarkSpec"]

BENCHMARKS: Final[dict[str, type[BenchmarkSpec]]] = {
    "ingest": Ingest,
    "input": Input,
    "triplet": TripletStep,
    "step": Step,
    "train": TrainLoop,
    "embed": EmbedRate,
    "knn": Knn,
    "scale": Scale,
}
"""Every benchmark by its name."""

AnyBenchmark = Annotated[
    Ingest | Input | TripletStep | Step | TrainLoop | EmbedRate | Knn | Scale, Field(discriminator="name")
]
"""Type of a configuration key that takes any of them."""

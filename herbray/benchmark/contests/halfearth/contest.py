"""The run at true counts: catalogue → splits → shards → training → embeddings → tasks → report."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow.compute as pc
from pydantic import Field
from rich.console import Console

from herbray.benchmark.contests.halfearth import flora, label_stages, sheets
from herbray.benchmark.contests.halfearth.process import run_stage
from herbray.benchmark.harness.race import Case, Contender, Lap, Measured
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Verdict
from herbray.data import catalogue
from herbray.data.splitting.splits import Splits, split

CASE: Final = "the whole study"
_HOURS: Final = 4.0
_SIDE: Final = 32
_TASKS: Final = ("identify", "discriminate", "mislabel", "retrieval", "planted", "silhouette", "leakage")
_WITHOUT_PROBE: Final = ("retrieval", "silhouette")
_OBJECTIVES: Final[dict[str, dict[str, Any]]] = {"triplet": {}, "classifier": {}, "autoencoder": {"width": 8}}


@dataclass(frozen=True)
class InTime:
    """The bound on the whole run, which counts at full scale."""

    scale: float

    def judge(self, laps: Sequence[Lap]) -> Verdict:
        """Add up the wall time of all stages."""
        hours = sum(lap.wall_s for lap in laps) / 3600
        promise = f"all stages at scale 1 ≤ {_HOURS:g} hours"
        return Verdict(
            CASE, promise, f"{hours:.2f} hours at scale {self.scale:g}", hours <= _HOURS if self.scale == 1 else None
        )


class HalfEarthRun(BenchmarkSpec):
    """Every stage of the study, at `scale` × the counts of Herbarium 2021 Half-Earth, each in its own process.

    The labels are drawn with the challenge's long tail; the images, about 1 KB each, carry their genus faintly.
    """

    name: Literal["halfearth"] = "halfearth"
    rounds: int = Field(1, ge=1, le=1, description="each stage runs once, because it needs the one before")
    scale: float = Field(0.01, gt=0, le=1, description="share of the 2,257,759 sheets, and of the names of each rank")
    labels_only: bool = Field(False, description="end after the stages that read no image")
    folder: Path | None = Field(None, description="keep the tables here; None: remove them")
    max_iter: int = Field(200, ge=1, description="most steps of a probe")

    def cases(self, work: Path) -> Iterator[Case]:
        """One case, whose contenders are the stages."""
        folder = (self.folder or work).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        grown = flora.grow(self.scale, self.seed)
        flora.write_metadata(grown, folder / "archive" / "metadata.json")
        rows = len(grown.species)
        stages = [*_label_stages(folder)]
        if not self.labels_only:
            stages += _image_stages(folder, self.seed, self.max_iter)
        yield Case(CASE, "specimens", [Contender(s.name, s.runner(rows, folder)) for s in stages], measures="stages")

    def targets(self) -> Sequence[Promise]:
        """The bound on the time of a full run."""
        return [] if self.labels_only else [InTime(self.scale)]


@dataclass(frozen=True)
class _Stage:
    name: str
    command: Sequence[str]
    prepare: Callable[[], object] = lambda: None  # what the stage needs and is not measured

    def runner(self, rows: int, folder: Path) -> Callable[[], Measured]:
        def run() -> Measured:
            self.prepare()
            done = run_stage(self.command, rows, folder, folder / f"{self.name}.log")
            if self.name == "splits":
                _print_sizes(folder)
            return done

        return run


def _label_stages(folder: Path) -> Iterator[_Stage]:
    source = {"name": "half_earth", "path": str(folder / "archive")}
    yield _verb(folder, "catalogue", "catalogue", {"source": source, "out": str(folder / "catalogue")})
    for name in label_stages.STAGES:
        yield _Stage(name, [sys.executable, "-m", label_stages.__name__, name, str(folder)])


def _image_stages(folder: Path, seed: int, max_iter: int) -> Iterator[_Stage]:
    places = {"store": str(folder)}
    shards = {"catalogue": str(folder / "catalogue"), "out": str(folder / "shards"), "side": _SIDE}
    yield _verb(folder, "shards", "shard", shards, lambda: _draw_images(folder, seed))
    for name, settings in _OBJECTIVES.items():
        train = {
            **places,
            "shards": str(folder / "shards"),
            "out": str(folder / "train" / name),
            "objective": {"name": name, **settings},
            "encoder": {"size": _SIDE},
            "epochs": 1,
            "workers": 0,
        }
        yield _verb(folder, f"train {name}", "train", train)
    for name in _OBJECTIVES:
        model = {"model": f"models:/herbray-{name}@candidate", "shards": str(folder / "shards"), "actors": 0}
        yield _verb(folder, f"embed {name}", "embed", {**places, **model, "out": str(folder / "embeddings")})
    evaluate = {
        **places,
        "embeddings": [str(folder / "embeddings")],
        "out": str(folder / "results.parquet"),
        "tasks": [
            {"name": name} if name in _WITHOUT_PROBE else {"name": name, "max_iter": max_iter} for name in _TASKS
        ],
    }
    yield _verb(folder, "evaluate", "evaluate", evaluate)
    report = {
        "results": str(folder / "results.parquet"),
        "catalogue": str(folder / "catalogue"),
        "shards": str(folder / "shards"),
        "embeddings": [str(folder / "embeddings")],
        "runs": [str(folder / "train")],
        "out": str(folder / "report.html"),
        "projection": "pca",
    }
    yield _verb(folder, "report", "report", report)


def _verb(
    folder: Path, name: str, verb: str, settings: dict[str, Any], prepare: Callable[[], object] = lambda: None
) -> _Stage:
    job = folder / f"{name}.yaml"
    job.write_text(json.dumps(settings), encoding="utf-8")
    return _Stage(name, [sys.executable, "-m", "herbray.cli", verb, str(job)], prepare)


def _draw_images(folder: Path, seed: int) -> None:
    """Plant wrong names, and draw the images of the rows that a split uses."""
    sheets.plant_wrong_names(folder / "catalogue", seed)
    table = catalogue.read(folder / "catalogue")
    splits = split(table, Splits(), label_stages.SEED)
    sheets.draw_sheets(table.filter(pc.not_equal(splits, "unused")), seed)


def _print_sizes(folder: Path) -> None:
    """Print the sizes of the splits beside the study's."""
    sizes = json.loads((folder / label_stages.SIZES_FILE).read_text(encoding="utf-8"))
    whole, study = sum(sizes.get(name, 0) for name in flora.TABLE_2), sum(flora.TABLE_2.values())
    for name, published in flora.TABLE_2.items():
        count = sizes.get(name, 0)
        Console(stderr=True).print(
            f"  {name:10} {count:>9,} {count / whole:6.1%}   study {published:>9,} {published / study:6.1%}",
            highlight=False,
        )

"""Settings of the plan: what is collected, on which cluster, with which settings of the jobs."""

from pathlib import Path

from pydantic import Field

from herbray import schema
from herbray.config import Spec
from herbray.flow.embedding.specification import Embed
from herbray.flow.evaluation.job import Evaluate
from herbray.flow.shards.build import Shard
from herbray.flow.training.specification import Train


class Collection(Spec):
    """The sheets. With a catalogue, every count is read from it; without one, the counts here are used."""

    catalogue: Path | None = Field(None, description="folder of a catalogue; its sheets are counted and sampled")
    sheets: int | None = Field(None, ge=1, description="number of sheets; required without a catalogue")
    sheet_kb: float = Field(100.0, gt=0, description="mean size of a file of a sheet, in 10³ bytes")
    sheet_px: tuple[int, int] = Field((700, 1000), description="width and height of a sheet, in pixels")
    image_kb: float | None = Field(
        None, gt=0, description="mean size of a JPEG in the shards, in 10³ bytes; null: as in the rate of `shard`"
    )
    row_bytes: float = Field(
        100.0, gt=0, description="labels of one specimen in a table, compressed; 80 to 130 on drawn herbaria"
    )
    species: int | None = Field(None, ge=1, description="number of species; needed for shard.splits.cap")
    genera: int = Field(1000, ge=2, description="number of genera")
    families: int = Field(100, ge=1, description="number of families")
    orders: int = Field(40, ge=1, description="number of orders")
    splits: dict[str, int] | None = Field(
        None,
        description=f"images of each split ({', '.join(schema.SPLITS[:-1])}); null: from the shares of shard.splits, "
        "without a herbarium test",
    )


class Cluster(Spec):
    """Equal nodes."""

    nodes: int = Field(1, ge=1, description="number of nodes")
    gpus: int = Field(0, ge=0, description="GPUs of a node")
    gpu: str = Field("NVIDIA H200", description="name of the GPU, as torch reports it")
    cpus: int = Field(16, ge=1, description="CPU cores of a node")
    memory_gb: float = Field(64.0, gt=0, description="memory of a node, in 10⁹ bytes")
    disk_gb: float = Field(100.0, ge=0, description="free disk space of a node for shards, in 10⁹ bytes")
    disk_mb_s: float = Field(500.0, gt=0, description="rate of a node's disk, in 10⁶ bytes per second")
    network_mb_s: float | None = Field(
        1250.0,
        gt=0,
        description="rate between a node and the store, and between nodes, in 10⁶ bytes per second; null: all data "
        "lies on the node's own disk",
    )
    store_mb_s: float | None = Field(
        None, gt=0, description="rate of the store to all nodes together, in 10⁶ bytes per second; null: no limit"
    )


class Plan(Spec):
    """What each verb will read, write and need, how long it will take on a cluster, and what limits it.

    Rates are measured: those of `measure=true` come first, then the files in `rates`, then those that ship with
    herbray. What was not measured is not planned; the command that measures it is printed instead.
    """

    collection: Collection = Field(Collection(), description="the sheets")
    cluster: Cluster = Field(Cluster(), description="the machines")
    shard: Shard = Field(Shard(), description="settings of the shard job")
    train: Train = Field(Train(), description="settings of the training job")
    embed: Embed = Field(Embed(), description="settings of the embed job")
    evaluate: Evaluate = Field(Evaluate(), description="settings of the evaluation job; only `identify` is planned")
    rates: tuple[Path, ...] = Field(
        (Path("runs/plan/rates.json"), Path("runs/benchmark")),
        description="files of rates and records of `herbray benchmark`, or folders of them",
    )
    measure: bool = Field(
        False, description="measure this machine first, within about a minute, and keep the rates in out/rates.json"
    )
    starts: bool = Field(
        False, description="with measure: also measure how long each command takes to start, within minutes"
    )
    out: Path = Field(Path("runs/plan"), description="folder that receives plan.json, and rates.json")
    seed: int = Field(89, description="seed of what is drawn for measuring")

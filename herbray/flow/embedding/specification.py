"""The settings of the embed job."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from herbray import schema
from herbray.config import Spec
from herbray.flow.cluster.placement import DEVICE_HELP, Device
from herbray.model.encoder import EncoderSpec
from herbray.settings.root import PathOr


class Embed(Spec):
    """The embed job. Reads shards and an encoder, writes a folder of embeddings named by both."""

    model: Annotated[str, PathOr(frozenset(("start",)))] = Field(
        "models:/herbray-triplet@candidate",
        description="models:/NAME@ALIAS, models:/NAME/VERSION, a folder, or `start` for untrained start weights",
    )
    start: EncoderSpec = Field(EncoderSpec(), description="the encoder to embed with if `model` is `start`")
    shards: Path = Field(Path("runs/shards"), description="folder of the shards, written by `herbray shard`")
    out: Path = Field(
        Path("runs/embeddings"), description="folder that receives a folder for each pair of encoder and shards"
    )
    splits: tuple[str, ...] = Field(schema.TEST_SPLITS, description="splits to embed")
    actors: int | None = Field(
        None,
        ge=0,
        description="processes; None: one per GPU, or one per two CPUs of a node; 0: this process, without Ray",
    )
    device: Device = Field("auto", description=DEVICE_HELP)
    patience_s: float = Field(1800, gt=0, description="seconds to wait for GPUs, if `device` demands them")
    batch: int | None = Field(None, ge=1, description="images per batch; None: 64 on a CPU, 512 on a GPU")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = Field(89, description="seed of random start weights")

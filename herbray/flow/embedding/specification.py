"""The settings of the embed job."""

from pathlib import Path

from pydantic import Field

from herbray import schema
from herbray.config import Spec
from herbray.model.encoder import EncoderSpec


class Embed(Spec):
    """The embed job. Reads shards and an encoder, writes a folder of embeddings named by both."""

    model: str = Field(
        "models:/herbray-triplet@candidate",
        description="models:/NAME@ALIAS, models:/NAME/VERSION, a folder, or `start` for untrained start weights",
    )
    start: EncoderSpec = EncoderSpec()
    shards: Path = Path("runs/shards")
    out: Path = Path("runs/embeddings")
    splits: tuple[str, ...] = schema.TEST_SPLITS
    actors: int | None = Field(
        None,
        ge=0,
        description="processes; None: one per GPU, or one per two CPUs of a node; 0: this process, without Ray",
    )
    batch: int | None = Field(None, ge=1, description="images per batch; None: 64 on a CPU, 512 on a GPU")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = 89

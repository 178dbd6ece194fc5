"""The content of a report: plain values, prepared by the caller of `write_report`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from herbray.report.scores import model_order
from herbray.schema import Identity


@dataclass(frozen=True)
class EncoderNote:
    """How one encoder was trained.

    Attributes:
        identity: identity of the encoder, as in the results.
        version: registered name and version, e.g. "herbray-triplet v1", or "untrained".
        epochs: number of passes over the training plan.
        images: number of images seen, including repeats.
        seconds: wall-clock time of the training.
        knn: k-NN accuracy on validation features; None if not measured.
        loss: the last validation loss if measured, else the last training loss; its scale depends on the objective.
        run_id: id of the MLflow run.
        network: title of the architecture; empty if unknown.
        settings: settings of the training job, and `dim`, the length of the representation; empty if unknown.
    """

    identity: Identity
    version: str
    epochs: float
    images: int
    seconds: float
    knn: float | None
    loss: float | None
    run_id: str
    network: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


def note_order(note: EncoderNote) -> tuple[Any, ...]:
    """Sorting key: the order of encoders on the page."""
    return model_order(note.identity.model), note.identity.init, note.identity.seed, note.version, note.identity.encoder


@dataclass(frozen=True)
class Sheet:
    """One specimen of the contact sheet; its JPEG is untrusted and is re-encoded before it is shown."""

    jpeg: bytes
    specimen_id: str
    genus: str | None
    species: str | None
    family: str | None
    institution: str | None
    split: str


@dataclass(frozen=True)
class SweepNote:
    """One sweep over settings.

    Attributes:
        title: subject of the sweep, e.g. "triplet".
        trials: `schema.TRIAL` rows, with a column for each searched setting.
        logarithmic: searched settings with a logarithmic range.
    """

    title: str
    trials: pa.Table
    logarithmic: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows; any part may be empty.

    Attributes:
        title: heading of the page.
        results: `schema.RESULT` rows of all models and tasks.
        manifest: manifest of the shards; known keys: counts, splits, genera, source, citation, side, fingerprint, seed.
        encoders: one note per trained or untrained encoder.
        curves: the columns of a `Kind`, epoch (float), metric, value; None if no training was recorded.
        embeddings: fingerprint of an encoder → `schema.embedding_schema` table, possibly with several splits.
        sheets: example specimens.
        quarantine: `schema.QUARANTINE` rows.
        settings: settings of the run in YAML.
        created: date and time as shown on the page.
        version: version of herbray.
        projection: projection of the map; "auto" is UMAP if installed, else principal components.
        sweeps: sweeps over training settings.
        comparisons: `schema.COMPARISON` rows; None if encoders were not compared.
        left_out: lines that say which evaluations the labels do not allow.
    """

    title: str
    results: pa.Table
    manifest: Mapping[str, Any]
    encoders: Sequence[EncoderNote]
    curves: pa.Table | None
    embeddings: Mapping[str, pa.Table]
    sheets: Sequence[Sheet]
    quarantine: pa.Table
    settings: str
    created: str
    version: str
    projection: Literal["auto", "umap", "pca"] = "auto"
    sweeps: Sequence[SweepNote] = ()
    comparisons: pa.Table | None = None
    left_out: Sequence[str] = ()

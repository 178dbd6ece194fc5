"""What a report is made of: plain values, read by whoever calls `write_report`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from herbray.report.scores import model_order
from herbray.schema import Identity


@dataclass(frozen=True)
class EncoderNote:
    """How one encoder came to be.

    Attributes:
        identity: which it is, as in the results.
        version: registered name and version, e.g. "herbray-triplet v1", or "untrained".
        epochs: passes over the training plan.
        images: images seen, repeats counted.
        seconds: wall-clock time of the training.
        knn: k-NN genus accuracy on validation features; None where it was not measured.
        loss: the last one, of validation where that was measured; its scale belongs to the objective.
        run_id: of the tracking run.
        settings: of the training job, and `dim`, the length of its representation; empty where they are not known.
    """

    identity: Identity
    version: str
    epochs: float
    images: int
    seconds: float
    knn: float | None
    loss: float | None
    run_id: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def note_order(note: EncoderNote) -> tuple[Any, ...]:
    """Sorting key: the page's order of encoders."""
    return model_order(note.identity.model), note.identity.init, note.identity.seed, note.version, note.identity.encoder


@dataclass(frozen=True)
class Sheet:
    """One specimen for the contact sheet; its JPEG is untrusted and re-encoded before it is shown."""

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
        title: what was swept, e.g. "triplet".
        trials: `schema.TRIAL` rows, and a column for each searched setting.
        logarithmic: searched settings whose range was logarithmic.
    """

    title: str
    trials: pa.Table
    logarithmic: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ReportData:
    """Everything that the page shows; any part may be empty.

    Attributes:
        title: the page's heading.
        results: `schema.RESULT` rows of every model and task.
        manifest: of the shards; known keys are counts, splits, genera, source, citation, side, fingerprint, seed.
        encoders: one note a trained or untrained encoder.
        curves: the columns of a `Kind`, and epoch (float), metric, value; None where no training was recorded.
        embeddings: fingerprint of an encoder to a `schema.embedding_schema` table, which may hold several splits.
        sheets: example specimens.
        quarantine: `schema.QUARANTINE` rows.
        settings: the run's settings in YAML.
        created: date and time, as the page shall show it.
        version: of herbray.
        projection: how the map is made; "auto" is UMAP where it is installed, else principal components.
        sweeps: over settings of training.
        comparisons: `schema.COMPARISON` rows; None where encoders were not compared.
        left_out: sentences on what the labels did not allow to be judged.
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

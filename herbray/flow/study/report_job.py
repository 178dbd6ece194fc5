"""Tables → report: gathers what the page shows; computes nothing that a task should have computed."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from herbray import __version__, config, schema, storage, tables
from herbray.config import Spec
from herbray.data.draws import draws
from herbray.flow.embedding.job import read_embeddings, read_note
from herbray.flow.evaluation.job import embeddings_folders, left_out_file
from herbray.flow.evaluation.outcomes import comparisons_file, remedy
from herbray.flow.shards.manifest import read_index, read_manifest
from herbray.flow.shards.manifest import remedy as shards_remedy
from herbray.flow.training.fingerprints import identity_from_manifest, read_identity
from herbray.flow.training.metrics_log import read_metrics
from herbray.flow.training.registration import ENCODER, read_trained
from herbray.model.checkpoint import EncoderCard
from herbray.model.portable import CARD as CARD_FILE
from herbray.model.portable import read_card
from herbray.report import EncoderNote, ReportData, Sheet, SweepNote, logarithmic, write_report
from herbray.report.names import Kind
from herbray.tasks import LeftOut, lines


class Report(Spec):
    """The report job. Reads results, shards, embeddings and run folders, writes one HTML page."""

    title: str = Field("herbray", description="heading of the page")
    results: Path = Field(Path("runs/results.parquet"), description="table of results, written by `herbray evaluate`")
    shards: Path = Field(Path("runs/shards"), description="folder of the shards")
    catalogue: Path | None = Field(None, description="its quarantined rows are shown too")
    embeddings: tuple[Path, ...] = Field(
        (Path("runs/embeddings"),), description="folders of embeddings, or folders of such folders"
    )
    runs: tuple[Path, ...] = Field((Path("runs/train"),), description="run folders, or folders of such folders")
    sweeps: tuple[Path, ...] = Field((), description="folders that `herbray tune` wrote")
    out: Path = Field(Path("runs/report.html"), description="the HTML page")
    sheets: int = Field(24, ge=0, le=200, description="example sheets")
    projection: Literal["auto", "umap", "pca"] = Field("auto", description="the map; auto: UMAP where it is installed")
    settings: str = Field("", description="shown folded at the end of the page")
    seed: int = Field(89, description="seed of the sheets shown and of the map")


@dataclass(frozen=True)
class _Run:
    """What a run folder says: its note, its reports, and which encoder it holds, if it kept that."""

    note: dict[str, Any]
    reports: list[dict[str, float]]
    identity: schema.Identity | None


_NO_RUN = _Run({}, [], None)


def report(spec: Report) -> Path:
    """Write the page.

    Raises:
        ValueError: the results, shards or embeddings are not there, or an earlier herbray wrote them.
    """
    if not spec.results.exists():
        raise ValueError(f"{spec.results}: no results here; run `herbray evaluate` with out={spec.results} first")
    manifest = read_manifest(spec.shards)
    folders = embeddings_folders(spec.embeddings)
    trained = _trained(spec.runs)
    embedded = [read_note(folder) for folder in folders]
    notes = {(note["encoder"], note["kind"]): _note(note, trained) for note in reversed(embedded)}
    data = ReportData(
        title=spec.title,
        results=tables.read(spec.results, remedy(spec.results), schema.RESULT),
        manifest=manifest,
        encoders=list(notes.values()),
        curves=_curves(trained),
        embeddings={note["encoder"]: read_embeddings(f) for note, f in zip(embedded, folders, strict=True)},
        sheets=list(_sheets(spec, manifest)),
        quarantine=_quarantine(spec),
        settings=spec.settings,
        created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        version=__version__,
        projection=spec.projection,
        sweeps=[_sweep(folder) for folder in spec.sweeps],
        comparisons=_comparisons(spec.results),
        left_out=_left_out(spec.results, manifest),
    )
    spec.out.parent.mkdir(parents=True, exist_ok=True)
    write_report(data, spec.out)
    return spec.out


def _comparisons(results: Path) -> pa.Table | None:
    file = comparisons_file(results)
    return tables.read(file, remedy(results), schema.COMPARISON) if file.exists() else None


def _left_out(results: Path, manifest: Mapping[str, Any]) -> list[str]:
    """What the labels did not allow to be judged, in words."""
    file = left_out_file(results)
    rows = tables.read(file, remedy(results), schema.LEFT_OUT).to_pylist() if file.exists() else []
    return lines([LeftOut(**row) for row in rows], manifest.get("absent", {}))


def _trained(paths: Sequence[Path]) -> dict[str, _Run]:
    """Fingerprint of an encoder, or its registered version where a run did not keep it → what its run folder says."""
    files = [
        f for path in paths for f in ([path / "trained.json"] if (path / "trained.json").exists() else _below(path))
    ]
    found = {}
    for file in files:
        note = read_trained(file.parent)
        identity = _identity(file.parent / ENCODER)
        run = _Run(note, read_metrics(file.parent / "metrics.jsonl"), identity)
        found[identity.encoder if identity else note["uri"]] = run
    return found


def _identity(encoder: Path) -> schema.Identity | None:
    if not (encoder / CARD_FILE).exists():
        return None
    return read_identity(encoder, config.parse(EncoderCard, read_card(encoder), origin=str(encoder / CARD_FILE)))


def _below(path: Path) -> list[Path]:
    return sorted(path.glob("*/trained.json"))


def _note(note: dict[str, Any], trained: Mapping[str, _Run]) -> EncoderNote:
    known = trained.get(note["encoder"]) or trained.get(note["uri"])
    run = known if known and note["objective"] != schema.UNTRAINED else _NO_RUN  # a start may be trained elsewhere
    figures = run.note.get("figures", {})
    return EncoderNote(
        identity=identity_from_manifest(note),
        version=note["version"],
        epochs=figures.get("epoch", 0.0),
        images=int(figures.get("images", 0)),
        seconds=sum(_seconds(run.reports)),
        knn=figures.get("val_knn"),
        loss=figures.get("val_loss"),
        run_id=run.note.get("run_id", ""),
        settings={**note["settings"], "dim": note["dim"]},
    )


def _sweep(folder: Path) -> SweepNote:
    if not (folder / "trials.parquet").exists():
        raise ValueError(f"{folder}: no finished sweep here; run `herbray tune` with out={folder} first")
    way_out = f"run `herbray tune` with out={folder} again: it goes on from the trials that have ended"
    note = storage.read_note(folder / "sweep.json", way_out)
    trials = tables.read(folder / "trials.parquet", way_out)
    return SweepNote(f"{note['objective']}, {folder.name}", trials, logarithmic(note["space"]))


def _seconds(reports: Sequence[dict[str, float]]) -> Iterator[float]:
    """Time in the training steps, from each report's images and rate."""
    before = 0.0
    for row in reports:
        yield (row["images"] - before) / row["images_per_s"]
        before = row["images"]


def _curves(trained: Mapping[str, _Run]) -> pa.Table | None:
    rows = [
        {
            **_kind(run),
            "epoch": row["epoch"],
            "metric": metric,
            "value": row[metric],
        }
        for run in trained.values()
        for row in run.reports
        for metric in sorted(row)
        if metric.startswith(("train_", "val_"))
    ]
    return pa.Table.from_pylist(rows) if rows else None


def _kind(run: _Run) -> dict[str, str]:
    """The columns that name the kind of a run's encoder; one that was not kept is of a kind with its objective's."""
    if run.identity is None:
        objective = run.note["objective"]
        return {"model": objective, "init": "", "kind": objective, "objective": objective, "start_kind": ""}
    return asdict(Kind.of(asdict(run.identity)))


def _sheets(spec: Report, manifest: dict[str, Any]) -> Iterator[Sheet]:
    """A few sheets of each of a few genera: a seeded choice of row groups, spread over the splits."""
    index = read_index(spec.shards).to_pylist()
    order = np.argsort(draws(spec.seed, "examples", [f"{bag['file']}/{bag['row_group']}" for bag in index]))
    each, left, seen = 4, spec.sheets, set[str]()
    for bag in (index[i] for i in order):
        if left <= 0:
            return
        if bag["genus"] in seen or bag["rows"] < min(each, left):
            continue
        seen.add(bag["genus"])
        file = tables.TableFile(spec.shards / bag["file"], shards_remedy(spec.shards))
        table = file.read_group(bag["row_group"]).slice(0, min(each, left))
        for row in table.to_pylist():
            left -= 1
            names = {name: row[name] for name in ("specimen_id", "genus", "species", "family", "institution")}
            yield Sheet(jpeg=row["jpeg"], split=bag["split"], **names)


def _quarantine(spec: Report) -> pa.Table:
    folders = [spec.shards, *([spec.catalogue] if spec.catalogue else [])]
    files = [folder / "quarantine.parquet" for folder in folders if (folder / "quarantine.parquet").exists()]
    way_out = "run the job that wrote it again"
    return pa.concat_tables(
        [schema.QUARANTINE.empty_table(), *(tables.read(file, way_out, schema.QUARANTINE) for file in files)]
    )

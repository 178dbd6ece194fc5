"""The report job: collects from tables and run folders what the page shows; computes no score."""

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
from herbray.data.draws import draw_numbers
from herbray.flow.embedding_folder import read_embeddings, read_note
from herbray.flow.evaluation.job import embeddings_folders, left_out_file
from herbray.flow.evaluation.outcomes import comparisons_file, describe_remedy
from herbray.flow.shards.manifest import describe_remedy as shards_remedy
from herbray.flow.shards.manifest import read_index, read_manifest
from herbray.flow.training.fingerprints import identity_from_manifest, read_identity
from herbray.flow.training.metrics_log import read_metrics, step_seconds
from herbray.flow.training.registration import ENCODER, read_trained
from herbray.model.encoder_card import EncoderCard
from herbray.model.portable import CARD_FILE, EncoderRefused, find_architecture, read_card
from herbray.report import EncoderNote, ReportData, Sheet, SweepNote, logarithmic_paths, write_report
from herbray.report.names import Kind
from herbray.tasks import LeftOut, describe_left_out


class Report(Spec):
    """The report job. Reads results, shards, embeddings and run folders, writes one HTML page."""

    title: str = Field("herbray", description="heading of the page")
    results: Path = Field(Path("runs/results.parquet"), description="table of results, written by `herbray evaluate`")
    shards: Path = Field(Path("runs/shards"), description="folder of the shards")
    catalogue: Path | None = Field(None, description="catalogue folder whose quarantined rows are shown too")
    embeddings: tuple[Path, ...] = Field(
        (Path("runs/embeddings"),), description="folders of embeddings, or folders of such folders"
    )
    runs: tuple[Path, ...] = Field((Path("runs/train"),), description="run folders, or folders of such folders")
    sweeps: tuple[Path, ...] = Field((), description="folders that `herbray tune` wrote")
    out: Path = Field(Path("runs/report.html"), description="the HTML page")
    sheets: int = Field(24, ge=0, le=200, description="number of example sheets")
    projection: Literal["auto", "umap", "pca"] = Field(
        "auto", description="method of the map; auto: UMAP if it is installed, else PCA"
    )
    settings: str = Field("", description="YAML text that is shown, collapsed, at the end of the page")
    seed: int = Field(89, description="seed of the sheets shown and of the map")


@dataclass(frozen=True)
class _TrainedRun:
    """What a run folder holds: its note, its metrics, and the identity of its encoder if the encoder was kept."""

    note: dict[str, Any]
    metrics: list[dict[str, float]]
    identity: schema.Identity | None


_NO_RUN = _TrainedRun({}, [], None)


def report(spec: Report) -> Path:
    """Write the page.

    Raises:
        ValueError: the results, shards or embeddings do not exist, or an earlier version of herbray wrote them.
    """
    if not storage.is_file(spec.results):
        raise ValueError(f"{spec.results}: no such file; run `herbray evaluate` with out={spec.results} first")
    manifest = read_manifest(spec.shards)
    folders = embeddings_folders(spec.embeddings)
    runs = _read_runs(spec.runs)
    embedded = [read_note(folder) for folder in folders]
    notes = {(note["encoder"], note["kind"]): _encoder_note(note, runs) for note in reversed(embedded)}
    data = ReportData(
        title=spec.title,
        results=tables.read(spec.results, describe_remedy(spec.results), schema.RESULT),
        manifest=manifest,
        encoders=list(notes.values()),
        curves=_to_curves(runs),
        embeddings={note["encoder"]: read_embeddings(f) for note, f in zip(embedded, folders, strict=True)},
        sheets=list(_draw_sheets(spec, manifest)),
        quarantine=_read_quarantine(spec),
        settings=spec.settings,
        created=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        version=__version__,
        projection=spec.projection,
        sweeps=[_read_sweep(folder) for folder in spec.sweeps],
        comparisons=_read_comparisons(spec.results),
        left_out=_describe_left_out(spec.results, manifest),
    )
    storage.make_folder(spec.out.parent)
    write_report(data, spec.out)
    return spec.out


def _read_comparisons(results: Path) -> pa.Table | None:
    file = comparisons_file(results)
    return tables.read(file, describe_remedy(results), schema.COMPARISON) if storage.is_file(file) else None


def _describe_left_out(results: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Lines about the parts of tasks that the labels did not allow."""
    file = left_out_file(results)
    rows = tables.read(file, describe_remedy(results), schema.LEFT_OUT).to_pylist() if storage.is_file(file) else []
    return describe_left_out([LeftOut(**row) for row in rows], manifest.get("absent", {}))


def _read_runs(paths: Sequence[Path]) -> dict[str, _TrainedRun]:
    """Fingerprint of an encoder, or its registered version if the run did not keep it → its run folder's content."""
    files = [file for path in paths for file in _run_files(path)]
    found = {}
    for file in files:
        note = read_trained(file.parent)
        identity = _read_identity(file.parent / ENCODER)
        run = _TrainedRun(note, read_metrics(file.parent / "metrics.jsonl"), identity)
        found[identity.encoder if identity else note["uri"]] = run
    return found


def _read_identity(encoder: Path) -> schema.Identity | None:
    if not storage.is_file(encoder / CARD_FILE):
        return None
    storage.fetch_folder(encoder)
    return read_identity(encoder, config.parse(EncoderCard, read_card(encoder), origin=str(encoder / CARD_FILE)))


def _run_files(path: Path) -> list[Path]:
    own = path / "trained.json"
    return [own] if storage.is_file(own) else storage.glob(path, "*/trained.json")


def _encoder_note(note: dict[str, Any], runs: Mapping[str, _TrainedRun]) -> EncoderNote:
    found = runs.get(note["encoder"]) or runs.get(note["uri"])
    run = found if found and note["objective"] != schema.UNTRAINED else _NO_RUN  # start weights may have a run too
    figures = run.note.get("figures", {})
    return EncoderNote(
        identity=identity_from_manifest(note),
        version=note["version"],
        epochs=figures.get("epoch", 0.0),
        images=int(figures.get("images", 0)),
        seconds=step_seconds(run.metrics),
        knn=figures.get("val_knn"),
        loss=figures.get("val_loss"),
        run_id=run.note.get("run_id", ""),
        network=_read_network(note["settings"]),
        settings={**note["settings"], "dim": note["dim"]},
    )


def _read_network(settings: Mapping[str, Any]) -> str:
    """Title of the architecture; its name if the library that has it is not on this machine."""
    encoder = settings.get("encoder", settings)  # a frozen encoder's settings are those of the encoder
    arch = str(encoder.get("arch") or "") if isinstance(encoder, Mapping) else ""
    try:
        return find_architecture(arch).title if arch else ""
    except EncoderRefused:
        return arch


def _read_sweep(folder: Path) -> SweepNote:
    if not storage.is_file(folder / "trials.parquet"):
        raise ValueError(f"{folder}: no finished sweep; run `herbray tune` with out={folder} first")
    way_out = f"run `herbray tune` with out={folder} again: it keeps the trials that have ended"
    note = storage.read_note(folder / "sweep.json", way_out)
    trials = tables.read(folder / "trials.parquet", way_out)
    return SweepNote(f"{note['objective']}, {folder.name}", trials, logarithmic_paths(note["space"]))


def _to_curves(runs: Mapping[str, _TrainedRun]) -> pa.Table | None:
    rows = [
        {
            **_kind_columns(run),
            "epoch": row["epoch"],
            "metric": metric,
            "value": row[metric],
        }
        for run in runs.values()
        for row in run.metrics
        for metric in sorted(row)
        if metric.startswith(("train_", "val_"))
    ]
    return pa.Table.from_pylist(rows) if rows else None


def _kind_columns(run: _TrainedRun) -> dict[str, str]:
    """The columns that name the kind of a run's encoder; an encoder that was not kept is named by its objective."""
    if run.identity is None:
        objective = run.note["objective"]
        return {"model": objective, "init": "", "kind": objective, "objective": objective, "start_kind": ""}
    return asdict(Kind.from_row(asdict(run.identity)))


def _draw_sheets(spec: Report, manifest: dict[str, Any]) -> Iterator[Sheet]:
    """A few sheets of each of a few labels, from row groups drawn with the seed from all splits."""
    index = read_index(spec.shards).to_pylist()
    order = np.argsort(draw_numbers(spec.seed, "examples", [f"{bag['file']}/{bag['row_group']}" for bag in index]))
    per_genus, left, shown = 4, spec.sheets, set[str]()
    for bag in (index[i] for i in order):
        if left <= 0:
            return
        if bag["label"] in shown or bag["rows"] < min(per_genus, left):
            continue
        shown.add(bag["label"])
        file = tables.TableFile(spec.shards / bag["file"], shards_remedy(spec.shards))
        table = file.read_group(bag["row_group"]).slice(0, min(per_genus, left))
        for row in table.to_pylist():
            left -= 1
            names = {name: row[name] for name in ("specimen_id", "genus", "species", "family", "institution")}
            yield Sheet(jpeg=row["jpeg"], split=bag["split"], **names)


def _read_quarantine(spec: Report) -> pa.Table:
    folders = [spec.shards, *([spec.catalogue] if spec.catalogue else [])]
    files = [folder / "quarantine.parquet" for folder in folders if storage.is_file(folder / "quarantine.parquet")]
    way_out = "run the job that wrote this file again"
    return pa.concat_tables(
        [schema.QUARANTINE.empty_table(), *(tables.read(file, way_out, schema.QUARANTINE) for file in files)]
    )

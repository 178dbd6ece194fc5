"""Encoder + shards → embeddings: an actor pool, one output file a shard file, each specimen once."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
import torch
from pydantic import Field

from herbray import __version__, schema, tracking
from herbray.config import Spec
from herbray.data import images
from herbray.data.plan import fingerprint
from herbray.flow import cluster
from herbray.flow.shard import read_manifest
from herbray.model.augment import prepare
from herbray.model.checkpoint import EncoderCard, read_encoder, save_encoder
from herbray.model.encoder import EncoderSpec, build_encoder


class Embed(Spec):
    """The embed job. Reads shards and an encoder, writes a folder of embeddings named by both."""

    model: str = Field(
        "models:/herbray-triplet@candidate", description="models:/…, a folder, or 'start': start weights"
    )
    start: EncoderSpec = EncoderSpec()
    shards: Path = Path("runs/shards")
    out: Path = Path("runs/embeddings")
    splits: tuple[str, ...] = schema.TEST_SPLITS
    actors: int | None = Field(None, ge=1, description="None: one a GPU, or one for two CPUs")
    batch: int = Field(64, ge=1)
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = 89


def embed(spec: Embed) -> Path:
    """Embed the wanted splits and return the folder; files that are finished are left alone.

    Raises:
        ValueError: an unknown split or one without rows, an encoder that needs larger images than the shards hold, an
            unknown model, or an encoder that gives numbers which are not finite.
        RuntimeError: specimens were lost or doubled.
    """
    manifest = read_manifest(spec.shards)
    _check_splits(spec, manifest)
    encoder, note = _fetch(spec)
    card = read_encoder(encoder)[1]
    if card.size > manifest["side"]:
        raise ValueError(
            f"{spec.model} takes images of {card.size} px, {spec.shards} holds {manifest['side']} px: "
            f"make the shards with side={card.size} or larger"
        )
    note |= {"init": card.init, "seed": card.seed, "size": card.size, "dim": card.dim, "herbray": __version__}
    note |= {"shards": manifest["fingerprint"], "splits": {name: manifest["splits"][name] for name in spec.splits}}
    target = spec.out / f"{note['name']}-{manifest['fingerprint'][:8]}"
    files = [f for name in spec.splits for f in sorted((spec.shards / f"split={name}").glob("part-*.parquet"))]
    jobs = [{"file": f.relative_to(spec.shards).as_posix()} for f in files]
    waiting = [job for job in jobs if not _finished(target / job["file"], encoder_print(encoder))]
    if waiting:
        with cluster.connected():
            _run(spec, target, encoder, waiting, manifest["side"])
    _account(target, jobs, note)
    return target


def read_embeddings(folder: Path) -> pa.Table:
    """All splits of an embeddings folder, in `schema.embedding_schema`, sorted by split and specimen."""
    files = sorted(folder.glob("split=*/part-*.parquet"))
    if not files:
        raise ValueError(f"{folder}: no embeddings here; run `herbray embed` first")
    table = pa.concat_tables([pq.ParquetFile(file).read() for file in files])
    return table.sort_by([("split", "ascending"), ("specimen_id", "ascending")])


def read_note(folder: Path) -> dict[str, Any]:
    """Which encoder made an embeddings folder."""
    try:
        note: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder}: no finished embeddings here; run `herbray embed` first") from None
    return note


def _check_splits(spec: Embed, manifest: dict[str, Any]) -> None:
    unknown = set(spec.splits) - set(schema.SPLITS)
    if unknown:
        raise ValueError(f"splits: {', '.join(sorted(unknown))} unknown; there are {', '.join(schema.SPLITS[:-1])}")
    empty = [name for name in spec.splits if not manifest["splits"].get(name)]
    if empty:
        have = ", ".join(f"{name} ({rows})" for name, rows in manifest["splits"].items())
        raise ValueError(f"splits: {spec.shards} holds no row of {', '.join(empty)}; it has {have}")


def _fetch(spec: Embed) -> tuple[Path, dict[str, Any]]:
    """The encoder as a folder that every actor can read, and what the results will call it."""
    if spec.model == "start":
        name = f"start-{spec.start.init.replace('/', '-')}-{fingerprint(spec.start.model_dump(), spec.seed)[:8]}"
        folder = spec.out / "encoders" / name
        if not (folder / "encoder.json").exists():
            encoder = build_encoder(spec.start, spec.seed)
            save_encoder(folder, encoder, _start_card(spec, encoder.dim))
        return folder.absolute(), {"name": name, "model": "untrained", "uri": "", "version": "untrained"}
    uri = tracking.tracking_uri(spec.store)
    if not spec.model.startswith("models:/"):
        folder = Path(spec.model)
        card = read_encoder(folder)[1]
        return folder.absolute(), {
            "name": folder.parent.name,
            "model": card.objective,
            "uri": "",
            "version": str(folder),
        }
    name, version = tracking.resolve(uri, spec.model)
    folder = tracking.pull(f"models:/{name}/{version}", uri, cache=spec.out.absolute() / "encoders")
    objective = read_encoder(folder)[1].objective
    label = {"name": f"{name}-v{version}", "model": objective, "version": f"{name} v{version}"}
    return folder.absolute(), label | {"uri": f"models:/{name}/{version}"}


def _start_card(spec: Embed, dim: int) -> EncoderCard:
    start = spec.start
    return EncoderCard(
        arch=start.arch,
        stem=start.stem,
        normalise=start.normalise,
        size=start.size,
        dim=dim,
        classes=[],
        objective="untrained",
        init=start.init,
        seed=spec.seed,
        shards_fingerprint="",
        citation="",
        spec=start.model_dump(mode="json"),
        herbray=__version__,
    )


def encoder_print(folder: Path) -> str:
    """Fingerprint of an encoder's weights."""
    return hashlib.sha256((folder / "encoder.safetensors").read_bytes()).hexdigest()[:16]


class _Embedder:
    """An actor: one encoder in memory, one shard file in, one embeddings file out."""

    def __init__(self, encoder: str, shards: str, target: str, side: int, batch: int) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encoder = read_encoder(Path(encoder))[0].eval().to(self.device).to(memory_format=torch.channels_last)
        self.print = encoder_print(Path(encoder))
        self.shards, self.target, self.side, self.batch = Path(shards), Path(target), side, batch

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        source = pq.ParquetFile(self.shards / job["file"], memory_map=True)
        table = source.read(columns=[*schema.SPECIMEN.names, "jpeg"])
        parts = [self._embed(part) for part in table.select(["jpeg"]).to_batches(max_chunksize=self.batch)]
        features = np.concatenate(parts) if parts else np.empty((0, self.encoder.dim), np.float32)
        if not np.isfinite(features).all():
            raise ValueError(f"{job['file']}: the encoder gives numbers that are not finite; it is not usable")
        split = job["file"].split("/")[0].removeprefix("split=")
        out = table.drop_columns(["jpeg"]).append_column("split", pa.array([split] * table.num_rows, pa.string()))
        flat = pa.FixedSizeListArray.from_arrays(pa.array(features.reshape(-1)), self.encoder.dim)
        out = out.append_column("embedding", flat).cast(schema.embedding_schema(self.encoder.dim))
        _write(self.target / job["file"], out.replace_schema_metadata({"encoder": self.print}))
        return {"file": job["file"], "rows": table.num_rows}

    @torch.inference_mode()
    def _embed(self, part: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.float32]]:
        pixels = images.squares(part["jpeg"].to_pylist(), self.side)
        square = prepare(torch.from_numpy(pixels).to(self.device), self.encoder.size)
        features: torch.Tensor = self.encoder(square.contiguous(memory_format=torch.channels_last))
        result: np.ndarray[Any, np.dtype[np.float32]] = features.float().cpu().numpy()
        return result


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    cluster.replace(path, temporary)


def _run(spec: Embed, target: Path, encoder: Path, jobs: list[dict[str, str]], side: int) -> None:
    gpus = cluster.resource("GPU")
    actors = spec.actors or int(gpus) or max(1, math.floor(cluster.resource("CPU") / 2))
    actors = min(actors, len(jobs))
    pool = ray.data.ActorPoolStrategy(size=actors)
    places = (str(encoder), str(spec.shards.absolute()), str(target.absolute()), side, spec.batch)
    data = ray.data.from_items(jobs, override_num_blocks=len(jobs)).map(
        _Embedder,  # type: ignore[arg-type]  # a callable class is an actor
        fn_constructor_args=places,
        compute=pool,
        num_cpus=1,
        num_gpus=1 if gpus >= actors else 0,
    )
    rows = {job["file"]: pq.read_metadata(spec.shards / job["file"]).num_rows for job in jobs}
    with cluster.progress() as bar:
        task = bar.add_task("embed", total=sum(rows.values()), unit="image")
        for note in _notes(data):
            bar.advance(task, note["rows"])


def _notes(data: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  (a ray.data.Dataset)
    yield from data.iter_rows()


def _finished(path: Path, wanted: str) -> bool:
    """Whether the file stands there and was made by these very weights."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return False
    return bool(metadata.get(b"encoder", b"").decode() == wanted)


def _account(target: Path, jobs: list[dict[str, str]], note: dict[str, Any]) -> None:
    """Every specimen of the shards stands in the embeddings once, and nothing else does."""
    planned = {job["file"] for job in jobs}
    for path in target.glob("split=*/*"):
        name = path.relative_to(target).as_posix()
        if name.split("/")[0].removeprefix("split=") in note["splits"] and name not in planned:
            path.unlink()
    ids = [i for job in jobs for i in pq.read_table(target / job["file"], columns=["specimen_id"])[0].to_pylist()]
    expected = sum(note["splits"].values())
    if len(ids) != expected or len(set(ids)) != expected:
        raise RuntimeError(f"{target}: {len(ids)} rows of {len(set(ids))} specimens, but the shards hold {expected}")
    note |= {"counts": {"input": expected, "ok": len(ids), "quarantined": 0, "skipped": 0}}
    temporary = target / ".manifest.json.tmp"
    temporary.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    cluster.replace(target / "manifest.json", temporary)

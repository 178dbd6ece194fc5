"""Encoder + shards → embeddings: an actor pool, one output file a shard file, each specimen once."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from pydantic import Field

from herbray import __version__, schema, storage, tables, tracking
from herbray.config import Spec
from herbray.data.plan import fingerprint
from herbray.disk import full
from herbray.flow.cluster import connection
from herbray.flow.cluster.placement import pool
from herbray.flow.embedding.embedder import Embedder, source_print
from herbray.flow.shards.chosen_splits import splits_there
from herbray.flow.shards.manifest import read_manifest
from herbray.flow.shards.manifest import remedy as shards_remedy
from herbray.flow.training.fingerprints import (
    encoder_fingerprint,
    fingerprint_of,
    kind_settings,
    read_identity,
    weights_fingerprint,
)
from herbray.model.checkpoint import EncoderCard, read_encoder, save_encoder
from herbray.model.encoder import Encoder, EncoderSpec, build_encoder
from herbray.tasks import Embeddings


class Embed(Spec):
    """The embed job. Reads shards and an encoder, writes a folder of embeddings named by both."""

    model: str = Field(
        "models:/herbray-triplet@candidate", description="models:/…, a folder, or 'start': start weights"
    )
    start: EncoderSpec = Field(EncoderSpec(), description="the encoder to embed with if `model` is `start`")
    shards: Path = Field(Path("runs/shards"), description="folder of the shards, written by `herbray shard`")
    out: Path = Field(
        Path("runs/embeddings"), description="folder that receives a folder for each pair of encoder and shards"
    )
    splits: tuple[str, ...] = Field(schema.TEST_SPLITS, description="splits to embed")
    actors: int | None = Field(
        None, ge=0, description="None: one a GPU, or one for two CPUs of a node; 0 embeds in this process, without Ray"
    )
    batch: int | None = Field(None, ge=1, description="None: 64 on a CPU, 512 on a GPU")
    store: Path = Field(Path("runs"), description="holds mlflow.db, unless MLFLOW_TRACKING_URI is set")
    seed: int = Field(89, description="seed of random start weights")


def embed(spec: Embed) -> Path:
    """Embed the wanted splits and return the folder; files that are finished are left alone.

    Raises:
        ValueError: an unknown split or one without rows, an encoder that needs larger images than the shards hold, or
            sheets of another geometry, an unknown model, or an encoder that gives numbers which are not finite.
        RuntimeError: specimens were lost or doubled.
        OSError: the disk is full.
    """
    manifest = read_manifest(spec.shards)
    spec = _of_what_is_there(spec, manifest)
    encoder, note = _fetch(spec)
    card = read_encoder(encoder)[1]
    if card.size > manifest["side"]:
        raise ValueError(
            f"{spec.model} takes images of {card.size} px, {spec.shards} holds {manifest['side']} px: "
            f"make the shards with side={card.size} or larger"
        )
    geometry = manifest.get("geometry", "crop")
    if (spec.model != "start" or spec.start.init.startswith("models:/")) and card.geometry != geometry:
        raise ValueError(
            f"{spec.model} was trained on sheets of geometry={card.geometry}, those of {spec.shards} are {geometry}: "
            f"make the shards with geometry={card.geometry}"
        )
    identity = read_identity(encoder, card)
    note |= asdict(identity) | {"settings": kind_settings(card), "size": card.size, "dim": card.dim}
    note |= {
        "herbray": __version__,
        "shards": manifest["fingerprint"],
        "splits": {name: manifest["splits"][name] for name in spec.splits},
    }
    target = spec.out / f"{note['name']}-{manifest['fingerprint'][:8]}"
    files = [f for name in spec.splits for f in sorted((spec.shards / f"split={name}").glob("part-*.parquet"))]
    jobs = [{"file": f.relative_to(spec.shards).as_posix()} for f in files]
    made_by = identity.encoder
    waiting = [job for job in jobs if not _finished(target / job["file"], made_by, spec.shards / job["file"])]
    if waiting:
        (target / "manifest.json").unlink(missing_ok=True)  # written last: without it nothing is finished
    if waiting and spec.actors == 0:
        _run_here(spec, target, encoder, waiting, manifest["side"])
    elif waiting:
        with connection.connected():
            _run(spec, target, encoder, waiting, manifest["side"])
    _sweep(target, {job["file"] for job in jobs}, made_by, spec)
    _account(target, jobs, note)
    return target


def read_embeddings(folder: Path) -> pa.Table:
    """All splits of an embeddings folder, in `schema.embedding_schema`, sorted by split and specimen."""
    return _read(folder).sort_by([("split", "ascending"), ("specimen_id", "ascending")])


def read_labels(folder: Path) -> Embeddings:
    """The specimens of an embeddings folder, without their features."""
    return Embeddings.of_labels(_read(folder, [*schema.SPECIMEN.names, "split"]))


def _read(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    files = sorted(folder.glob("split=*/part-*.parquet"))
    if not files:
        raise ValueError(f"{folder}: no embeddings here; run `herbray embed` first")
    return pa.concat_tables([tables.read(file, remedy(folder), columns=columns) for file in files])


def read_note(folder: Path) -> dict[str, Any]:
    """Which encoder made an embeddings folder, as `fingerprints.noted` reads it, and of which shards.

    Raises:
        ValueError: the embeddings are not finished, or the note is damaged or of an earlier version.
    """
    if not (folder / "manifest.json").exists():
        raise ValueError(f"{folder}: no finished embeddings here; run `herbray embed` first")
    return storage.read_note(folder / "manifest.json", remedy(folder))


def remedy(folder: Path) -> str:
    """What to do about a damaged or missing file of an embeddings folder."""
    return (
        f"run `herbray embed` with out={folder.parent} again: it remakes damaged files and leaves the others alone; "
        "or remove the folder if no encoder needs it"
    )


def _of_what_is_there(spec: Embed, manifest: dict[str, Any]) -> Embed:
    """The job on the splits that hold specimens; says which are left out."""
    why = manifest.get("absent", {})
    there = splits_there(spec.splits, "splits" in spec.model_fields_set, manifest["splits"], why)
    connection.say(f"split {n}: {why.get(n, 'the shards hold none of it')}" for n in spec.splits if n not in there)
    return spec.model_copy(update={"splits": there})


def _fetch(spec: Embed) -> tuple[Path, dict[str, Any]]:
    """The encoder as a folder that every actor can read, and where it comes from."""
    if spec.model == "start":
        init, weights = spec.start.init, None
        if init.startswith("models:/"):  # frozen as it was registered: what training from it must beat
            uri = tracking.tracking_uri(spec.store)
            init = tracking.pinned(uri, init)  # results tell starts apart by it; a training names its own so, too
            weights = tracking.pull(init, uri, cache=spec.out.absolute() / "encoders")
            spec = spec.model_copy(update={"start": spec.start.model_copy(update={"init": init})})
        which = fingerprint(spec.start.model_dump(), spec.seed, weights and weights_fingerprint(weights))[:8]
        name = f"start-{re.sub(r'[^A-Za-z0-9._-]+', '-', init)[-40:]}-{which}"
        folder = spec.out / "encoders" / name
        if not (folder / "encoder.json").exists():
            encoder = build_encoder(spec.start, spec.seed, weights)
            save_encoder(folder, encoder, _start_card(spec, encoder))
        return folder.absolute(), {"name": name, "uri": "", "version": "untrained"}
    uri = tracking.tracking_uri(spec.store)
    if not spec.model.startswith("models:/"):
        folder = Path(spec.model)
        made_by = encoder_fingerprint(folder, read_encoder(folder)[1])
        return folder.absolute(), {
            "name": f"{folder.absolute().parent.name}-{made_by[:8]}{made_by[-4:]}",  # another encoder, another name
            "uri": "",
            "version": str(folder),
        }
    name, version = tracking.resolve(uri, spec.model)
    folder = tracking.pull(f"models:/{name}/{version}", uri, cache=spec.out.absolute() / "encoders")
    label = {"name": f"{name}-v{version}", "version": f"{name} v{version}"}
    return folder.absolute(), label | {"uri": f"models:/{name}/{version}"}


def _start_card(spec: Embed, encoder: Encoder) -> EncoderCard:
    start = spec.start
    return EncoderCard(
        arch=start.arch,
        stem=start.stem,
        normalise=start.normalise,
        size=start.size,
        dim=encoder.dim,
        classes=[],
        objective=schema.UNTRAINED,
        init=start.init,
        seed=spec.seed,
        start=fingerprint_of(encoder),
        shards_fingerprint="",
        citation="",
        spec=start.model_dump(mode="json"),
        geometry=encoder.geometry,
        herbray=__version__,
    )


class _Actor:
    """An embedder in a process of its own; one shard file a call."""

    def __init__(self, encoder: str, shards: str, target: str, side: int, batch: int | None, cpus: float) -> None:
        self.embedder = Embedder(Path(encoder), side, _threads(cpus), batch)
        self.shards, self.target = Path(shards), Path(target)

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        split = job["file"].split("/")[0].removeprefix("split=")
        try:
            rows = self.embedder.file(self.shards / job["file"], split, self.target / job["file"])
        except OSError as error:
            if (complaint := full(error)) is None:
                raise
            return {"file": job["file"], "rows": 0, "errno": complaint.errno, "strerror": complaint.strerror}
        return {"file": job["file"], "rows": rows, "errno": 0, "strerror": ""}


def _threads(cpus: float) -> int:
    """Cores behind so many of this node's CPUs: a cluster on a laptop claims more than there are."""
    here = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    claimed = next(float(node["Resources"]["CPU"]) for node in nodes if node["NodeID"] == here)
    return max(1, math.floor(min(cpus, cpus * (os.cpu_count() or 1) / claimed)))


def _run(spec: Embed, target: Path, encoder: Path, jobs: list[dict[str, str]], side: int) -> None:
    actors = pool(connection.nodes(), spec.actors, len(jobs), 2)
    cpus = max(1.0, actors.cpus - 1) if actors.count == 1 else actors.cpus  # one alone leaves a CPU to the driver
    places = (str(encoder), str(spec.shards.absolute()), str(target.absolute()), side, spec.batch, cpus)
    data = ray.data.from_items(jobs, override_num_blocks=len(jobs)).map(
        _Actor,  # type: ignore[arg-type]  # a callable class is an actor
        fn_constructor_args=places,
        compute=ray.data.ActorPoolStrategy(size=actors.count),
        num_cpus=cpus,
        num_gpus=actors.gpus,
    )
    way_out = shards_remedy(spec.shards)
    rows = {job["file"]: tables.TableFile(spec.shards / job["file"], way_out).rows for job in jobs}
    with connection.progress() as bar:
        task = bar.add_task("embed", total=sum(rows.values()), unit="image")
        for note in _notes(data):
            bar.advance(task, note["rows"])


def _run_here(spec: Embed, target: Path, encoder: Path, jobs: list[dict[str, str]], side: int) -> None:
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)  # Ray sets it for its tasks
    embedder = Embedder(encoder, side, threads, spec.batch)
    for job in jobs:
        split = job["file"].split("/")[0].removeprefix("split=")
        embedder.file(spec.shards / job["file"], split, target / job["file"])


def _notes(data: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  (a ray.data.Dataset)
    for note in data.iter_rows():
        if note["errno"]:  # an error of an actor reaches us as a text: a full disk comes as a row
            raise OSError(note["errno"], note["strerror"])
        yield note


def _finished(path: Path, encoder: str, source: Path) -> bool:
    """Whether the file stands there whole and was made by these very weights of this very shard file."""
    try:
        tables.verify(path, "")
        note = tables.TableFile(path, "").note
    except (OSError, storage.DamagedFile):
        return False
    return bool(note.get("encoder") == encoder and note.get("source") == source_print(source))


def _sweep(target: Path, planned: set[str], encoder: str, spec: Embed) -> None:
    """Remove what other weights or other shards left; splits that this encoder embedded earlier stay."""
    for path in target.glob("split=*/*"):
        name = path.relative_to(target).as_posix()
        wanted = name.split("/")[0].removeprefix("split=") in spec.splits
        if name not in planned and (wanted or not _finished(path, encoder, spec.shards / name)):
            path.unlink()


def _account(target: Path, jobs: list[dict[str, str]], note: dict[str, Any]) -> None:
    """Every specimen of the shards stands in the embeddings once, and nothing else does."""
    files = [tables.read(target / job["file"], remedy(target), columns=["specimen_id"]) for job in jobs]
    ids = [name for file in files for name in file["specimen_id"].to_pylist()]
    expected = sum(note["splits"].values())
    if len(ids) != expected or len(set(ids)) != expected:
        raise RuntimeError(f"{target}: {len(ids)} rows of {len(set(ids))} specimens, but the shards hold {expected}")
    note |= {"counts": {"input": expected, "ok": len(ids), "quarantined": 0, "skipped": 0}}
    storage.write_note(target / "manifest.json", note)

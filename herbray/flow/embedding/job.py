"""The embed job: encoder + shards → embeddings. One output file per shard file, each specimen exactly once."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import ray.data

from herbray import __version__, storage, tables
from herbray.disk import find_disk_error
from herbray.flow.cluster import connection
from herbray.flow.cluster.gpus import find_nodes
from herbray.flow.cluster.placement import plan_pool
from herbray.flow.embedding.embedder import Embedder, source_fingerprint
from herbray.flow.embedding.encoder_source import fetch_encoder
from herbray.flow.embedding.specification import Embed
from herbray.flow.embedding_folder import describe_remedy
from herbray.flow.input.to_device import choose_device
from herbray.flow.shards.chosen_splits import select_nonempty_splits
from herbray.flow.shards.manifest import describe_remedy as shards_remedy
from herbray.flow.shards.manifest import list_files, read_manifest
from herbray.flow.training.fingerprints import kind_settings, read_identity
from herbray.model.encoder_card import EncoderCard, read_encoder


def embed(spec: Embed) -> Path:
    """Embed the chosen splits and return the folder; finished files are kept.

    Raises:
        ValueError: a split is unknown or empty, the encoder needs larger images than the shards hold, or sheets of
            another geometry, the model is unknown, or the encoder gives values that are not finite.
        RuntimeError: specimens were lost or duplicated.
        OSError: the disk is full.
    """
    manifest = read_manifest(spec.shards)
    spec = _drop_empty_splits(spec, manifest)
    encoder, note = fetch_encoder(spec)
    card = read_encoder(encoder)[1]
    _check_images(spec, card, manifest)
    identity = read_identity(encoder, card)
    facts = {
        **note,
        **asdict(identity),
        "settings": kind_settings(card),
        "size": card.size,
        "dim": card.dim,
        "herbray": __version__,
        "shards": manifest["fingerprint"],
        "splits": {name: manifest["splits"][name] for name in spec.splits},
    }
    target = spec.out / f"{note['name']}-{manifest['fingerprint'][:8]}"
    files = list_files(spec.shards, spec.splits)  # embeddings files have the same names
    missing = [file for file in files if not _is_finished(target / file, identity.encoder, spec.shards / file)]
    if missing:
        storage.remove(target / "manifest.json")  # written last: without it, the folder is not finished
        _embed_files(spec, target, encoder, missing, manifest["side"])
    _remove_stale_files(target, set(files), identity.encoder, spec)
    _write_manifest(target, files, facts)
    return target


def _drop_empty_splits(spec: Embed, manifest: dict[str, Any]) -> Embed:
    """The settings without empty splits; prints the splits that are left out."""
    why = manifest.get("absent", {})
    chosen = select_nonempty_splits(spec.splits, "splits" in spec.model_fields_set, manifest["splits"], why)
    dropped = [name for name in spec.splits if name not in chosen]
    connection.print_left_out(f"split {name}: {why.get(name, 'the shards hold no specimen of it')}" for name in dropped)
    return spec.model_copy(update={"splits": chosen})


def _check_images(spec: Embed, card: EncoderCard, manifest: dict[str, Any]) -> None:
    """Check that the shards hold images of the size and geometry that the encoder needs."""
    if card.size > manifest["side"]:
        raise ValueError(
            f"{spec.model} takes images of {card.size} px, but {spec.shards} holds images of {manifest['side']} px: "
            f"run `herbray shard` with side={card.size} or larger"
        )
    geometry = manifest.get("geometry", "crop")
    is_trained = spec.model != "start" or spec.start.init.startswith("models:/")
    if is_trained and card.geometry != geometry:
        raise ValueError(
            f"{spec.model} was trained on sheets of geometry={card.geometry}, those of {spec.shards} are {geometry}: "
            f"make the shards with geometry={card.geometry}"
        )


def _split_of(file: str) -> str:
    return file.split("/")[0].removeprefix("split=")


def _embed_files(spec: Embed, target: Path, encoder: Path, files: Sequence[str], side: int) -> None:
    if spec.actors == 0:
        _embed_here(spec, target, encoder, files, side)
    else:
        with connection.connect():
            _embed_on_cluster(spec, target, encoder, files, side)


class _Actor:
    """An embedder in its own process; embeds one shard file per call."""

    def __init__(self, encoder: str, shards: str, target: str, side: int, batch: int | None, cpus: float) -> None:
        self.embedder = Embedder(Path(encoder), side, _actor_threads(cpus), batch)
        self.shards, self.target = Path(shards), Path(target)

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        file = job["file"]
        try:
            rows = self.embedder.embed_file(self.shards / file, _split_of(file), self.target / file)
        except OSError as error:
            if (disk_error := find_disk_error(error)) is None:
                raise
            return {"file": file, "rows": 0, "errno": disk_error.errno, "strerror": disk_error.strerror}
        return {"file": file, "rows": rows, "errno": 0, "strerror": ""}


def _actor_threads(cpus: float) -> int:
    """The number of cores behind `cpus` CPUs of this node: a local cluster may offer more CPUs than there are cores."""
    here = ray.get_runtime_context().get_node_id()
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    offered = next(float(node["Resources"]["CPU"]) for node in nodes if node["NodeID"] == here)
    return max(1, math.floor(min(cpus, cpus * (os.cpu_count() or 1) / offered)))


def _embed_on_cluster(spec: Embed, target: Path, encoder: Path, files: Sequence[str], side: int) -> None:
    nodes = find_nodes(spec.device, min(spec.actors or 1, len(files)), spec.patience_s)
    actors = plan_pool(nodes, spec.actors, len(files), 2)
    cpus = max(1.0, actors.cpus - 1) if actors.count == 1 else actors.cpus  # a single actor leaves a CPU to the driver
    arguments = (str(encoder), str(spec.shards.absolute()), str(target.absolute()), side, spec.batch, cpus)
    jobs = [{"file": file} for file in files]
    data = ray.data.from_items(jobs, override_num_blocks=len(jobs)).map(
        _Actor,  # type: ignore[arg-type]  # a callable class is an actor
        fn_constructor_args=arguments,
        compute=ray.data.ActorPoolStrategy(size=actors.count),
        num_cpus=cpus,
        num_gpus=actors.gpus,
    )
    rows = sum(tables.TableFile(spec.shards / file, shards_remedy(spec.shards)).rows for file in files)
    with connection.progress() as bar:
        task = bar.add_task("embed", total=rows, unit="image")
        for note in _iter_notes(data):
            bar.advance(task, note["rows"])


def _iter_notes(data: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  (a ray.data.Dataset)
    for note in data.iter_rows():
        if note["errno"]:  # sent as a row, because Ray turns an actor's exception into text
            raise OSError(note["errno"], note["strerror"])
        yield note


def _embed_here(spec: Embed, target: Path, encoder: Path, files: Sequence[str], side: int) -> None:
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)  # Ray sets the variable for its tasks
    embedder = Embedder(encoder, side, threads, spec.batch, choose_device(spec.device))
    for file in files:
        embedder.embed_file(spec.shards / file, _split_of(file), target / file)


def _is_finished(path: Path, encoder: str, source: Path) -> bool:
    """Whether the file is undamaged and was made by this encoder from this shard file as it is now."""
    try:
        tables.verify(path, "")
        note = tables.TableFile(path, "").note
    except storage.StoreUnreachable:
        raise
    except (OSError, storage.DamagedFile):
        return False
    return bool(note.get("encoder") == encoder and note.get("source") == source_fingerprint(source))


def _remove_stale_files(target: Path, planned: set[str], encoder: str, spec: Embed) -> None:
    """Remove files of other weights or other shards; splits that this encoder embedded earlier are kept."""
    for path in storage.glob(target, "split=*/*"):
        file = path.relative_to(target).as_posix()
        chosen = _split_of(file) in spec.splits
        if file not in planned and (chosen or not _is_finished(path, encoder, spec.shards / file)):
            storage.remove(path)


def _write_manifest(target: Path, files: Sequence[str], facts: dict[str, Any]) -> None:
    """Check that the files hold every specimen of the shards exactly once, and write the manifest."""
    columns = [tables.read(target / file, describe_remedy(target), columns=["specimen_id"]) for file in files]
    ids = [name for column in columns for name in column["specimen_id"].to_pylist()]
    expected = sum(facts["splits"].values())
    if len(ids) != expected or len(set(ids)) != expected:
        raise RuntimeError(f"{target}: {len(ids)} rows of {len(set(ids))} specimens, but the shards hold {expected}")
    counts = {"input": expected, "ok": len(ids), "quarantined": 0, "skipped": 0}
    storage.write_note(target / "manifest.json", facts | {"files": list(files), "counts": counts})

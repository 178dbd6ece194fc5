"""The checks before a study trains anything: errors that would otherwise stop the study hours later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import torch

from herbray import schema
from herbray.data.judged_labels import apply_verdicts
from herbray.data.labels import encode_lineages, list_lineages, read_labels
from herbray.data.planning import plan
from herbray.data.planning.herbaria import check_herbaria
from herbray.data.splitting.empty_splits import explain_empty_splits
from herbray.data.splitting.splits import split
from herbray.flow.embedding.specification import Embed
from herbray.flow.evaluation.job import Evaluate
from herbray.flow.shards.build import Shard, read_located_catalogue
from herbray.flow.shards.chosen_splits import select_nonempty_splits
from herbray.flow.shards.manifest import read_manifest
from herbray.flow.shards.specimens import read_specimen_columns
from herbray.flow.training.specification import Train
from herbray.flow.training.teacher import check_teacher
from herbray.flow.training.worker.loop import build_learner
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.objectives import DataFacts
from herbray.tasks import Embeddings, LeftOut, select_scorable

_STAND_IN: Final = DataFacts(torch.tensor([[0, 0], [0, 1]]), teacher_dim=8)
"""Two names of one higher name: to build an objective before the data are there."""


def check_start(job: Train) -> None:
    """Check that a training's start weights fit its encoder. Weights from a registry are checked when they are pulled.

    Raises:
        ValueError: the start weights do not fit the encoder, or are not available.
    """
    if not job.encoder.init.startswith("models:/"):
        build_learner(job, 2, None, _STAND_IN)


def check_frozen(start: EncoderSpec, seed: int) -> None:
    """Like `check_start`, for an encoder that is evaluated without training."""
    if not start.init.startswith("models:/"):
        build_encoder(start, seed)


def check_pretraining_fits(job: Train, pretraining: EncoderSpec) -> None:
    """Check that the encoder of a pretraining will fit a training that starts from it.

    Raises:
        ValueError: the encoders differ in architecture, stem or normalisation.
    """
    for key in ("arch", "stem", "normalise"):
        have, want = getattr(pretraining, key), getattr(job.encoder, key)
        if have != want:
            raise ValueError(
                f"{job.result_name}: encoder.{key}={want}, but the pretraining has encoder.{key}={have}: "
                "set both to the same value"
            )


@dataclass(frozen=True)
class Preflight:
    """What the later stages of a study can do with the labels of its specimens.

    Attributes:
        splits: the splits to embed.
        absent: empty splits, with the reason.
        left_out: parts of tasks that the labels do not allow.
    """

    splits: tuple[str, ...]
    absent: Mapping[str, str]
    left_out: tuple[LeftOut, ...]


def preflight(shard: Shard, embed: Embed, evaluate: Evaluate, trainings: Sequence[tuple[Train, Shard]]) -> Preflight:
    """Check the stages of a study against the catalogue and its splits; no image is read.

    Args:
        shard: the shard job of the specimens that are embedded.
        embed: the embedding job of all encoders.
        evaluate: the evaluation job.
        trainings: each training with the shard job whose shards it reads.

    Raises:
        ValueError: a training cannot make batches from its shards, a training would see too few labels, or the settings
            name a split or a part of a task that the labels do not allow.
    """
    specimens = split_catalogue(shard)
    for job, source in trainings:
        same = _reads(source) == _reads(shard)
        check_training(job, source, specimens if same else split_catalogue(source))
    return _check_labels(specimens, _explain(specimens, shard), embed, evaluate)


def _reads(shard: Shard) -> tuple[object, ...]:
    """What decides the splits of a shard job, and what it needs of the catalogue."""
    return shard.catalogue, shard.splits, shard.labels, shard.seed, shard.mask


def _explain(specimens: pa.Table, shard: Shard) -> dict[str, str]:
    return explain_empty_splits(specimens, specimens["split"], shard.splits, shard.labels.rank)


def preflight_on_shards(shards: Path, embed: Embed, evaluate: Evaluate) -> Preflight:
    """Like `preflight`, on finished shards, which lack the specimens whose images were refused."""
    manifest = read_manifest(shards)
    tables = [
        read_specimen_columns(shards, name).append_column("split", [[name] * n])
        for name, n in manifest["splits"].items()
    ]
    return _check_labels(pa.concat_tables(tables), manifest["absent"], embed, evaluate)


def split_catalogue(shard: Shard) -> pa.Table:
    """The catalogue of a shard job after review, with a column `split`."""
    table = read_located_catalogue(shard)
    judged = apply_verdicts(table, split(table, shard.splits, shard.seed, shard.labels.rank), shard.labels)
    return judged.table.append_column("split", judged.splits)


def check_training(job: Train, shard: Shard, specimens: pa.Table) -> None:
    """Check that a training will be able to make batches from shards that do not exist yet.

    Args:
        job: the training.
        shard: the shard job of its shards.
        specimens: the table from `split_catalogue`.

    Raises:
        ValueError: the shards do not allow these batches, the images are smaller than the encoder's input, or the
            teacher of a distillation has no embeddings of the training split.
    """
    if job.encoder.size > shard.side:
        raise ValueError(
            f"{job.result_name}: encoder.size={job.encoder.size} px, but the shards have side={shard.side} px: "
            f"set side={job.encoder.size} or larger, or lower encoder.size"
        )
    train, rank = specimens.filter(pc.equal(specimens["split"], "train")), shard.labels.rank
    index = _planned_index(read_labels(train, rank), shard.bag)
    group, rivals = job.objective.group, job.objective.rivals
    try:
        if (teacher := job.objective.teacher_folder) is not None:
            check_teacher(teacher, train["specimen_id"])
        if job.objective.uses_lineage:
            encode_lineages(list_lineages(train, rank), plan.list_classes(index))
        check_herbaria(train["institution"], job.stream.herbaria)
        stream = job.stream.model_copy(
            update={"herbaria": 0.0}
        )  # what a bag will hold is unknown and makes no difference
        plan.plan_epoch(index, plan.list_classes(index), stream, group, job.seed, 0, rivals=rivals)
    except ValueError as error:
        raise ValueError(f"{job.result_name}: {error}") from None


def _planned_index(labels: pa.ChunkedArray, bag: int) -> pa.Table:
    """The bags that training specimens of these labels will form, as `schema.INDEX` of one file."""
    counts = {row["values"]: row["counts"] for row in pc.value_counts(labels).to_pylist()}
    sizes = [(label, min(bag, n - at)) for label, n in sorted(counts.items()) for at in range(0, n, bag)]
    rows = [
        {"split": "train", "file": "", "row_group": place, "label": label, "rows": size}
        for place, (label, size) in enumerate(sizes)
    ]
    return pa.Table.from_pylist(rows, schema=schema.INDEX)


def _check_labels(specimens: pa.Table, missing: Mapping[str, str], embed: Embed, evaluate: Evaluate) -> Preflight:
    """The preflight of specimens with the columns of `schema.SPECIMEN` and `split`."""
    sizes = {row["values"]: row["counts"] for row in pc.value_counts(specimens["split"]).to_pylist()}
    present = {name: sizes[name] for name in schema.SPLITS[:-1] if name in sizes}
    splits = select_nonempty_splits(embed.splits, "splits" in embed.model_fields_set, present, missing)
    embedded = specimens.filter(pc.is_in(specimens["split"], pa.array(splits)))
    found = select_scorable(evaluate.tasks, Embeddings.from_labels(embedded), evaluate.seed)
    return Preflight(splits, missing, found.left_out)

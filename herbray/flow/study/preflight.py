"""What would stop a study hours after it began, told before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from herbray import schema
from herbray.data import catalogue, plan
from herbray.data.empty_splits import explain_empty_splits
from herbray.data.splits import split
from herbray.flow.embedding.specification import Embed
from herbray.flow.evaluation.job import Evaluate
from herbray.flow.shards.build import Shard
from herbray.flow.shards.chosen_splits import nonempty_splits
from herbray.flow.shards.manifest import read_manifest
from herbray.flow.shards.specimens import read_specimen_columns
from herbray.flow.training.loop import build_learner
from herbray.flow.training.specification import Train
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.tasks import Embeddings, LeftOut, judgeable


def check_start(job: Train) -> None:
    """Start weights that do not go with an encoder, or cannot be had. Those of a registry are looked at when pulled.

    Raises:
        ValueError: for such.
    """
    if not job.encoder.init.startswith("models:/"):
        build_learner(job, 2, None)


def check_frozen(start: EncoderSpec, seed: int) -> None:
    """`check_start` of an encoder that is evaluated as it is."""
    if not start.init.startswith("models:/"):
        build_encoder(start, seed)


def check_handed_over(job: Train, made: EncoderSpec) -> None:
    """Whether an encoder that is yet to be pretrained will fit the training that is to start from it.

    Raises:
        ValueError: it will not.
    """
    for key in ("arch", "stem", "normalise"):
        have, want = getattr(made, key), getattr(job.encoder, key)
        if have != want:
            raise ValueError(
                f"{job.result_name}: encoder.{key}={want}, but the pretraining that it starts from has {key}={have}: "
                f"set both alike"
            )


@dataclass(frozen=True)
class Outlook:
    """What the labels allow of a study's later stages.

    Attributes:
        splits: to embed.
        absent: splits that the settings allow for and that hold no specimen, and why.
        left_out: of the tasks.
    """

    splits: tuple[str, ...]
    absent: Mapping[str, str]
    left_out: tuple[LeftOut, ...]


def foresee(shard: Shard, embed: Embed, evaluate: Evaluate, trainings: Sequence[tuple[Train, Shard]]) -> Outlook:
    """What a catalogue and its splits allow to train, to embed and to judge; no image is read.

    Args:
        shard: of the specimens that are embedded.
        embed: of all encoders.
        evaluate: of them.
        trainings: with the shards that each learns from.

    Raises:
        ValueError: shards cannot be cut into a training's batches, too few genera would train, or a split, or a part of
            a task, that the settings name cannot be had.
    """
    specimens = split_catalogue(shard)
    for job, source in trainings:
        same = (source.catalogue, source.splits, source.seed) == (shard.catalogue, shard.splits, shard.seed)
        check_training(job, source, specimens if same else split_catalogue(source))
    return _outlook(specimens, explain_empty_splits(specimens, specimens["split"], shard.splits), embed, evaluate)


def foresee_again(shards: Path, embed: Embed, evaluate: Evaluate) -> Outlook:
    """The outlook on finished shards, which lack the specimens whose images were refused."""
    manifest = read_manifest(shards)
    tables = [
        read_specimen_columns(shards, name).append_column("split", [[name] * n])
        for name, n in manifest["splits"].items()
    ]
    return _outlook(pa.concat_tables(tables), manifest["absent"], embed, evaluate)


def split_catalogue(shard: Shard) -> pa.Table:
    """The catalogue of a shard job, and the split of each row."""
    table = catalogue.read(shard.catalogue)
    return table.append_column("split", split(table, shard.splits, shard.seed))


def check_training(job: Train, shard: Shard, specimens: pa.Table) -> None:
    """Whether the shards that will be made can be cut into the batches of a training.

    Args:
        job: the training.
        shard: of its shards.
        specimens: from `split_catalogue`.

    Raises:
        ValueError: they cannot, or their images will be smaller than the encoder's input.
    """
    if job.encoder.size > shard.side:
        raise ValueError(
            f"{job.result_name}: encoder.size={job.encoder.size} px, but the shards are made with side={shard.side} "
            f"px: make them with side={job.encoder.size} or larger, or lower encoder.size"
        )
    index = _index(specimens.filter(pc.equal(specimens["split"], "train"))["genus"], shard.bag)
    group, rivals = job.objective.group, job.objective.rivals
    try:
        plan.plan_epoch(index, plan.list_genera(index), job.stream, group, job.seed, 0, rivals=rivals)
    except ValueError as error:
        raise ValueError(f"{job.result_name}: {error}") from None


def _index(genera: pa.ChunkedArray, bag: int) -> pa.Table:
    """The bags in which training specimens of these genera will lie, as `schema.INDEX` of one file."""
    counts = {row["values"]: row["counts"] for row in pc.value_counts(genera).to_pylist()}
    sizes = [(genus, min(bag, n - at)) for genus, n in sorted(counts.items()) for at in range(0, n, bag)]
    rows = [
        {"split": "train", "file": "", "row_group": place, "genus": genus, "rows": size}
        for place, (genus, size) in enumerate(sizes)
    ]
    return pa.Table.from_pylist(rows, schema=schema.INDEX)


def _outlook(specimens: pa.Table, missing: Mapping[str, str], embed: Embed, evaluate: Evaluate) -> Outlook:
    """What labels allow; `specimens` has the columns of `schema.SPECIMEN` and `split`."""
    sizes = {row["values"]: row["counts"] for row in pc.value_counts(specimens["split"]).to_pylist()}
    known = {name: sizes[name] for name in schema.SPLITS[:-1] if name in sizes}
    splits = nonempty_splits(embed.splits, "splits" in embed.model_fields_set, known, missing)
    embedded = specimens.filter(pc.is_in(specimens["split"], pa.array(splits)))
    found = judgeable(evaluate.tasks, Embeddings.of_labels(embedded), evaluate.seed)
    return Outlook(splits, missing, found.left_out)

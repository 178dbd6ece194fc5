"""The cells of a study's grid: one encoder each, trained or taken as it is, and its embeddings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray

from herbray.console.progress import mute_progress
from herbray.flow.cluster import connection
from herbray.flow.cluster.gpus import find_nodes
from herbray.flow.cluster.placement import Device, count_gpus
from herbray.flow.embedding.job import embed
from herbray.flow.embedding.specification import Embed
from herbray.flow.study.folders import folder_name, name_run_folders
from herbray.flow.study.preflight import check_frozen, check_pretraining_fits, check_start
from herbray.flow.study.specification import PRETRAINING, Study, encoder_from, with_values
from herbray.flow.study.stages import StageLog
from herbray.flow.training.job import train
from herbray.flow.training.preparation import refuse_own_start, resolve_start_weights
from herbray.flow.training.progress import show_progress
from herbray.flow.training.specification import Train
from herbray.model.encoder import EncoderSpec


@dataclass(frozen=True)
class Cell:
    """One encoder of the grid.

    Attributes:
        train: the training that makes the encoder; None: the start weights are the encoder.
        embed: the embedding job of the encoder.
    """

    train: Train | None
    embed: Embed


def check_starts(spec: Study) -> None:
    """Check all start weights as far as is possible before any stage, also the pretraining, has run.

    Raises:
        ValueError: start weights do not fit an encoder, or are not available.
    """
    for each in spec.train:
        for init in spec.inits or [each.encoder.init]:
            if init == PRETRAINING and spec.pretraining:
                check_pretraining_fits(each, spec.pretraining.train.encoder)
            else:
                refuse_own_start(training_from(each, init, each.seed))
    if spec.pretraining:
        check_start(spec.pretraining.train)
    for start in spec.frozen:
        check_frozen(start, spec.train[0].seed)


def list_cells(spec: Study, pretrained: str | None) -> tuple[list[Cell], list[Cell]]:
    """The cells of a study.

    Args:
        spec: the study.
        pretrained: address of the pretraining's encoder in the registry.

    Returns:
        The encoders to train, and the encoders to embed as they are, both in the order of the settings.

    Raises:
        ValueError: start weights do not fit an encoder, or are not available.
    """
    trainings = [
        training_from(each, pretrained if pretrained and init == PRETRAINING else init, seed)
        for each in spec.train
        for init in spec.inits or [each.encoder.init]
        for seed in spec.seeds or [each.seed]
    ]
    jobs = [resolve_start_weights(refuse_own_start(each), spec.out) for each in trainings]
    names = name_run_folders(jobs, inits=len(spec.inits) > 1, seeds=len(spec.seeds) > 1)
    trained = [_trained_cell(spec, job, name) for job, name in zip(jobs, names, strict=True)]
    frozen = [
        _frozen_cell(spec, start, seed)
        for start in dict.fromkeys([*(job.encoder for job in jobs), *spec.frozen])
        for seed in (spec.seeds or (spec.train[0].seed,))[: None if start.init == "random" else 1]
    ]  # only random start weights depend on the seed
    return trained, frozen


def training_from(base: Train, init: str, seed: int) -> Train:
    """A training with other start weights and another seed.

    Raises:
        ValueError: the start weights do not fit the encoder, or are not available.
    """
    job = base.model_copy(update={"encoder": encoder_from(base, init), "seed": seed})
    check_start(job)
    return job


def shards_folder(spec: Study, label: str) -> Path:
    """The shards that the training of this label reads."""
    return spec.out.absolute() / (f"shards-{folder_name(label)}" if label in spec.other_shards else "shards")


def _trained_cell(spec: Study, job: Train, name: str) -> Cell:
    out, shards = (
        spec.out.absolute(),
        shards_folder(spec, job.result_name),
    )
    job = with_values(job, shards=shards, store=out, out=out / "train" / name)
    return Cell(job, with_values(_embedding(spec), shards=shards))


def _frozen_cell(spec: Study, start: EncoderSpec, seed: int) -> Cell:
    return Cell(None, with_values(_embedding(spec), model="start", start=start, seed=seed))


def _embedding(spec: Study) -> Embed:
    out = spec.out.absolute()
    return with_values(spec.embed, shards=out / "shards", out=out / "embeddings", store=out)


def run_cells(cells: Sequence[Cell], log: StageLog) -> list[Path]:
    """Make the embeddings of every cell.

    Returns:
        The embeddings folders, in the order of the cells.
    """
    single = [place for place, cell in enumerate(cells) if _fits_one_task(cell)]
    done: dict[int, Path] = {}
    if len(single) > 1:
        log.start("encoders", f"{len(single)} encoders in parallel")
        done = dict(zip(single, _run_in_parallel([cells[place] for place in single]), strict=True))
    for place, cell in enumerate(cells):
        if place not in done:
            done[place] = _run_cell(cell, log)
    return [done[place] for place in range(len(cells))]


def _fits_one_task(cell: Cell) -> bool:
    """Whether neither the training nor the embedding starts Ray workers."""
    return cell.embed.actors == 0 and (cell.train is None or cell.train.workers == 0)


def _run_in_parallel(cells: Sequence[Cell]) -> Iterator[Path]:
    """Run each cell as one Ray task. The first error ends the job; the same command runs the remaining cells."""
    devices = {cell.train.device if cell.train else cell.embed.device for cell in cells}
    asked: Device = "cuda" if "cuda" in devices else "cpu" if devices == {"cpu"} else "auto"
    gpus = min(1, count_gpus(find_nodes(asked, 1, max(cell.embed.patience_s for cell in cells))))
    run = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(_run_cell_quietly)
    refs = [run.remote(cell) for cell in cells]
    with show_progress([cell.train for cell in cells if cell.train]) as bar:
        job = bar.add_task("encoders", total=len(refs), unit="encoder")
        for ref in connection.iter_finished(refs):
            connection.fetch_result(ref)
            bar.advance(job)
    yield from map(connection.fetch_result, refs)


def _run_cell_quietly(cell: Cell) -> Path:
    """`_run_cell` in a task: the driver shows the progress of all of them."""
    with mute_progress():
        return _run_cell(cell, StageLog(quiet=True))


def _run_cell(cell: Cell, log: StageLog) -> Path:
    """Train the encoder if the cell has a training, and embed; both steps resume."""
    if cell.train is None:
        log.start("embed", f"test splits with the frozen {cell.embed.start.init} start")
        return embed(cell.embed)
    log.start("train", f"{cell.train.out.name} encoder from {cell.train.encoder.init} start weights")
    done = train(cell.train)
    log.start("embed", f"test splits with {done.uri}")
    return embed(with_values(cell.embed, model=done.uri))

"""The study job: catalogue → shards → a grid of encoders → embeddings → tasks → report, in one command.

The grid is training × start weights × seed, plus the start weights without training. `herbray demo` is a study with one
start and one seed. Several trainings of one objective are an experiment on their settings.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from herbray import config, schema, tables, tracking
from herbray.console.logs import make_printable
from herbray.data import catalogue
from herbray.data.labels import ALL
from herbray.flow.cluster import connection
from herbray.flow.evaluation.job import Evaluate, evaluate
from herbray.flow.evaluation.outcomes import comparisons_file, describe_remedy
from herbray.flow.review.one_encoder import review_encoder
from herbray.flow.shards.build import Shard, shard
from herbray.flow.study.cells import check_starts, list_cells, run_cells, shards_folder
from herbray.flow.study.preflight import Preflight, preflight, preflight_on_shards
from herbray.flow.study.report_job import report
from herbray.flow.study.setting_effects import describe_differences
from herbray.flow.study.specification import PRETRAINING, Study, with_values
from herbray.flow.study.stages import StageLog
from herbray.flow.training.job import train
from herbray.tasks import add_rank, describe_left_out

__all__ = ["Study", "study"]


def study(spec: Study) -> Path:
    """Run every stage and return the path of the report. A stage that was interrupted resumes.

    Raises:
        ValueError: bad input of any stage. Start weights that are not available are reported before any training.
    """
    check_starts(spec)
    tracking.tracking_uri(spec.out)  # refused now, not after the shards
    spec = with_values(spec, evaluate=_score_labels(spec.evaluate, spec.shard.labels.rank))
    log = StageLog()
    log.start("catalogue", "list the specimens")
    settings, names = config.dump(spec), with_values(spec.catalogue, out=spec.out / "catalogue")
    for note in catalogue.build(names)["notes"]:
        log.start("note", escape(make_printable(note)))
    shards = with_values(spec.shard, catalogue=names.out, out=spec.out / "shards")
    found = _preflight(spec, shards)
    with connection.connect(cpus=count_cpus(spec)):
        log.start("shards", "check and resize every image, and group the images by label")
        found = _make_shards(spec, shards, found)
        spec = with_values(spec, embed=with_values(spec.embed, splits=found.splits))
        trained, frozen = list_cells(spec, _pretrain(spec, log))
        folders = [*run_cells(frozen, log), *run_cells(trained, log)]
        log.start("evaluate", f"{len(folders)} encoders, {len(spec.evaluate.tasks)} tasks")
        evaluation = with_values(
            spec.evaluate, embeddings=tuple(folders), store=spec.out, out=spec.out / "results.parquet"
        )
        evaluate(evaluation, announced=found.left_out)
        _compare_settings(evaluation, folders[len(frozen) :], log)
    log.start("report", "draw the figures and write the page")
    page = with_values(
        spec.report,
        title=spec.title,
        results=evaluation.out,
        shards=shards.out,
        catalogue=names.out,
        embeddings=tuple(folders),
        runs=(spec.out / "train",),
        out=spec.out / "report.html",
        settings=settings,
    )
    path = report(page)
    if spec.review is not None:
        log.start("review", "list doubtful sheets and write the page to judge them on")
        print(review_encoder(spec.review, folders[len(frozen)], shards.out, names.out, spec.out))
    log.start("done", f"open {path} in a browser")
    return path


def count_cpus(spec: Study) -> int | None:
    """The CPUs of a cluster on this machine: one per core if every training is a task of one CPU; else the default."""
    trainings = [*spec.train, *([spec.pretraining.train] if spec.pretraining else [])]
    alone = spec.embed.actors == 0 and all(each.workers == 0 for each in trainings)
    return max(2, os.cpu_count() or 1) if alone else None


def _score_labels(evaluation: Evaluate, rank: str) -> Evaluate:
    """Score encoders also at the rank that they are trained on, and choose champions by it, unless the user did."""
    if rank == ALL:  # champions are chosen by the genus
        return with_values(evaluation, tasks=add_rank(evaluation.tasks, "species"))
    rule = evaluation.champion
    if "metric" not in rule.model_fields_set:
        rule = with_values(rule, metric=rule.metric.replace("/genus/", f"/{rank}/"))
    return with_values(evaluation, tasks=add_rank(evaluation.tasks, rank), champion=rule)


def _preflight(spec: Study, shards: Shard) -> Preflight:
    """Check all stages against the catalogues and splits, before any image is read; print what is left out."""
    trainings = [
        (each, with_values(spec.other_shards.get(each.result_name, shards), catalogue=shards.catalogue))
        for each in spec.train
    ]
    if before := spec.pretraining:
        catalogue.build(names := with_values(before.catalogue, out=spec.out / PRETRAINING / "catalogue"))
        trainings += [(before.train, with_values(before.shard, catalogue=names.out))]
    found = preflight(shards, spec.embed, spec.evaluate, trainings)
    connection.print_left_out(describe_left_out(found.left_out, found.absent))
    return found


def _make_shards(spec: Study, shards: Shard, found: Preflight) -> Preflight:
    """Make all shards; returns the preflight on the specimens whose images could be read."""
    refused = shard(shards, announced=found.absent)["counts"]["quarantined"]
    for label, other in spec.other_shards.items():
        shard(with_values(other, catalogue=shards.catalogue, out=shards_folder(spec, label)), announced=found.absent)
    if not refused:
        return found
    again = preflight_on_shards(shards.out, spec.embed, spec.evaluate)
    connection.print_left_out(describe_left_out([each for each in again.left_out if each not in found.left_out]))
    return again


def _pretrain(spec: Study, log: StageLog) -> str | None:
    """Train the encoder of `pretraining`; returns its address in the registry, for all trainings to start from."""
    if spec.pretraining is None:
        return None
    root, before = spec.out / PRETRAINING, spec.pretraining
    log.start(PRETRAINING, f"{before.train.objective.name} encoder on another catalogue")
    shard(
        shards := with_values(before.shard, catalogue=root / "catalogue", out=root / "shards"), announced=schema.SPLITS
    )
    name = before.train.register_as or f"herbray-{PRETRAINING}"
    job = with_values(before.train, shards=shards.out, store=spec.out, out=root / "train", register_as=name)
    return train(job).uri


def _compare_settings(evaluation: Evaluate, trained: Sequence[Path], log: StageLog) -> None:
    """Print how trainings of one objective differ."""
    compared = tables.read(comparisons_file(evaluation.out), describe_remedy(evaluation.out), schema.COMPARISON)
    for line in describe_differences(compared, trained):
        log.start("compared", line)

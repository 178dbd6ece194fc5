"""What each verb needs on a cluster: a function of settings, counts, the network's size and rates."""

import math
from dataclasses import replace
from typing import Final

from herbray.flow.training.specification import Train
from herbray.sizing.case import Case, add, compute, divide, forward_facts, step_facts
from herbray.sizing.counts import SplitCounts
from herbray.sizing.demand import (
    CHECKPOINT_BYTES,
    STATE_BYTES,
    Demand,
    Resource,
    Traffic,
    checkpoint_count,
    expected_groups,
    fetched_bytes,
    ring_bytes,
    schedule_s,
    steps_of_epoch,
    transfer_s,
)
from herbray.sizing.rates import RateFinder
from herbray.tasks.identify import Identify
from herbray.tasks.methods.memory import Size, estimate_memory

ROW_MEMORY: Final = {"catalogue": 850, "shard": 485}
"""Bytes of the driver's memory per row: 325 and 185 MiB at 400,000 rows (docs/benchmark.md, scale, 2026-11-25)."""


def plan_verbs(case: Case) -> list[Demand]:
    """What each verb needs, in the order in which they are run."""
    found = []
    for make in (plan_catalogue, plan_shard, plan_train, plan_embed, plan_evaluate):
        one = replace(case, rates=RateFinder(case.rates.rates, loaded=True))
        demand = make(one)
        case.rates.used.update(one.rates.used)
        found.append(replace(demand, missing=tuple(one.rates.missing)))
    return found


def plan_catalogue(case: Case) -> Demand:
    """One process on one core reads the labels and writes the table; no image is read."""
    rows, labels = case.counts.sheets, case.counts.sheets * case.counts.row_bytes
    rate = case.rates.find("catalogue", "herbray benchmark scale")
    seconds: dict[Resource, float | None] = {"CPU": divide(rows, rate.per_s if rate else None)}
    traffic = Traffic(labels, labels)
    one = case.cluster.model_copy(update={"nodes": 1})
    return Demand(
        "catalogue",
        rows,
        1,
        traffic,
        {**transfer_s(traffic, one), **seconds},
        case.start_s("catalogue"),
        ROW_MEMORY["catalogue"] * rows,
    )


def plan_shard(case: Case) -> Demand:
    """One task on one core makes one file: reads sheets, decodes, reduces and writes them. First, the driver splits."""
    spec, counts = case.plan.shard, case.counts
    images, files = counts.images(), counts.files(spec.file_rows)
    traffic = Traffic(images * counts.sheet_bytes, images * (case.image_bytes + counts.row_bytes))
    rate, splitting = case.shard_rate(), case.rates.find("split", "herbray benchmark scale")
    one_core, largest = divide(images, rate.per_core_s if rate else None), counts.largest_file(spec.file_rows)
    decoding = None if one_core is None else schedule_s(one_core, one_core * largest / max(1, images), case.cores)
    return Demand(
        "shard",
        images,
        files,
        traffic,
        {**transfer_s(traffic, case.cluster), "decode": decoding},
        case.start_s("shard") + (divide(counts.sheets, splitting.per_s if splitting else None) or 0.0),
        ROW_MEMORY["shard"] * counts.sheets
        + case.cluster.cpus * (3 * counts.sheet_px + spec.bag * (case.image_bytes + counts.row_bytes)),
    )


def plan_train(case: Case) -> Demand:
    """Devices take steps on batches of their own; nodes average gradients after each; one node writes checkpoints."""
    spec, train = case.plan.train, case.counts.splits["train"]
    world = _workers(case)
    steps = _steps(spec, train) * spec.epochs
    images = steps * spec.stream.batch
    checked = min(spec.validate_rows, case.counts.images(("validation",))) * spec.epochs
    split = train.images * (case.image_bytes + case.counts.row_bytes)
    taken = math.ceil(steps / world)
    seconds = compute(case, images, ("step", "fed step"), step_facts(case))
    if checked:
        checking = compute(case, checked, ("forward", "fed forward"), forward_facts(case))
        seconds = {name: add(value, checking[name]) for name, value in seconds.items()}
    fetched = transfer_s(Traffic(fetched_bytes(split, spec.epochs, case.cluster)), case.cluster)
    if case.cluster.network_mb_s is not None:
        ring = taken * ring_bytes(case.network.parameters, case.cluster.nodes)
        fetched["network"] += ring / (case.cluster.network_mb_s * 1e6)
    seconds |= fetched
    longest = max((value for value in seconds.values() if value is not None), default=0.0)
    each = CHECKPOINT_BYTES * case.network.parameters
    written = each * checkpoint_count(spec.epochs, longest, spec.checkpoints.seconds)
    writing = transfer_s(Traffic(written=written), case.cluster.model_copy(update={"nodes": 1}))
    seconds["checkpoint"] = sum(writing.values())
    return Demand(
        "train",
        images,
        taken,
        Traffic(fetched_bytes(split, spec.epochs, case.cluster), written),
        seconds,
        case.start_s("train"),
        _train_memory(case) * max(1, world // case.cluster.nodes),
        _device_memory(case, spec) if case.gpus else 0.0,
    )


def _steps(spec: Train, split: SplitCounts) -> int:
    """Batches of an epoch, all ranks together."""
    group = spec.objective.group
    groups = expected_groups(split.images, split.classes["genus"], group)
    return steps_of_epoch(split.bags, groups, spec.stream.batch, group, spec.stream.window, spec.stream.align)


def _workers(case: Case) -> int:
    """Training workers: one per GPU, else one per node."""
    if case.plan.train.workers is None:
        return case.gpus or case.cluster.nodes
    return case.plan.train.most_workers


def _train_memory(case: Case) -> float:
    """Bytes that one worker holds: windows of JPEGs, decoded batches, and the JPEGs of its validation sample."""
    spec, side = case.plan.train, case.plan.shard.side
    windows = (spec.loader.windows + 1) * spec.stream.window * case.plan.shard.bag * case.image_bytes
    batches = (spec.loader.ahead + 1) * spec.stream.batch * 3 * side**2
    checked = min(spec.validate_rows, case.counts.images(("validation",))) * case.image_bytes
    host = 0.0 if case.gpus else _device_memory(case, spec)
    return windows + batches + checked + host


def _device_memory(case: Case, spec: Train) -> float:
    """Bytes of parameters and activations of one worker's step; in bfloat16, activations take half."""
    half = 2 if case.gpus and spec.precision == "auto" else 1
    rows = spec.stream.batch * spec.objective.views
    return STATE_BYTES * case.network.parameters + rows * case.network.activation_bytes / half


def plan_embed(case: Case) -> Demand:
    """Every process embeds whole shard files: reads, decodes, computes and writes."""
    spec, counts = case.plan.embed, case.counts
    images, files = counts.images(spec.splits), counts.files(case.plan.shard.file_rows, spec.splits)
    vectors = 4 * case.network.dim
    traffic = Traffic(images * (case.image_bytes + counts.row_bytes), images * (vectors + counts.row_bytes))
    actors = min(files, max(1, spec.actors if spec.actors is not None else case.gpus or case.cores // 2))
    computing = compute(case, images, ("forward", "fed forward"), forward_facts(case))
    share = counts.largest_file(case.plan.shard.file_rows, spec.splits) / max(1, images)
    waited: dict[Resource, float | None] = {
        name: None if value is None else schedule_s(value * actors, value * actors * share, actors)
        for name, value in computing.items()
    }
    each = case.plan.shard.file_rows * (case.image_bytes + vectors) + 4 * 512 * 3 * case.plan.shard.side**2
    return Demand(
        "embed",
        images,
        files,
        traffic,
        {**transfer_s(traffic, case.cluster), **waited},
        case.start_s("embed"),
        each * math.ceil(actors / case.cluster.nodes),
    )


def plan_evaluate(case: Case) -> Demand:
    """One task on one core cross-validates one rank of one split; only the task `identify` is planned."""
    tasks = [task for task in case.plan.evaluate.tasks if isinstance(task, Identify)]
    rate = case.rates.find("probe", "herbray plan measure=true")
    sizes = [
        (found.images, found.classes[rank], task)
        for task in tasks
        for name, found in case.counts.splits.items()
        if name in task.splits
        for rank in task.ranks
        if found.classes.get(rank, 0) > 1
    ]
    dim = case.network.dim
    costs = [
        divide(rows * dim * classes * task.folds, rate.per_core_s if rate else None) or 0.0
        for rows, classes, task in sizes
    ]
    seconds = schedule_s(sum(costs), max(costs, default=0.0), case.cores) if rate else None
    read = case.counts.images(case.plan.embed.splits) * (4 * dim + case.counts.row_bytes)
    traffic = Traffic(read * min(case.cluster.nodes, len(sizes)))
    memory = sorted((estimate_memory(task, Size(rows, classes, dim)) for rows, classes, task in sizes), reverse=True)
    rows = sum(rows for rows, _, _ in sizes)
    return Demand(
        "evaluate",
        rows,
        sum(task.folds for _, _, task in sizes),
        traffic,
        {**transfer_s(traffic, case.cluster), "CPU": seconds},
        case.start_s("evaluate"),
        sum(memory[: case.cluster.cpus]) + read,
    )

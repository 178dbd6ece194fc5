"""The whole story in one command: catalogue → shards → a grid of encoders → embeddings → tasks → report.

The grid is training × start weights × seed, with the start weights as they are, frozen, beside it. `herbray demo` is a
study of one start and one seed. Several trainings of one objective are an experiment on their settings.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

import ray
from pydantic import Field, model_validator

from herbray import config, schema, tables
from herbray.config import Spec
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.flow.cluster import connection
from herbray.flow.embedding.job import Embed, embed
from herbray.flow.evaluation.job import Evaluate, evaluate
from herbray.flow.evaluation.outcomes import comparisons_file, remedy
from herbray.flow.shards.build import Shard, shard
from herbray.flow.study.folders import folder, refuse_repeated, run_folders
from herbray.flow.study.preflight import Outlook, check_frozen, check_handed_over, check_start, foresee, foresee_again
from herbray.flow.study.report_job import Report, report
from herbray.flow.study.setting_effects import differences
from herbray.flow.training.job import train
from herbray.flow.training.preparation import refuse_own_start, resolve_start_weights
from herbray.flow.training.specification import Train
from herbray.model.encoder import EncoderSpec
from herbray.tasks import lines

PRETRAINING: Final = "pretraining"
"""The start weights in `inits` that stand for the encoder of the study's own `pretraining`."""

S = TypeVar("S", bound=Spec)


class Pretraining(Spec):
    """An encoder trained on another catalogue first, and handed over through the registry (the paper: CIFAR-10)."""

    catalogue: Catalogue = Field(description="settings of the catalogue")
    shard: Shard = Field(Shard(), description="settings of the shards")
    train: Train = Field(description="settings of the training")


class Study(Spec):
    """The study job: every stage's own settings; the folders between them are laid out below `out`.

    Trainings with `workers=0` are single Ray tasks, as many at a time as there are CPUs (or GPUs); the others follow
    one another, each with its own workers.
    """

    out: Path = Field(Path("runs/study"), description="folder that receives the results of every stage")
    title: str = Field("A synthetic herbarium", description="heading of the report")
    catalogue: Catalogue = Field(description="settings of the catalogue")
    shard: Shard = Field(Shard(), description="settings of the shards")
    other_shards: dict[str, Shard] = Field({}, description="shards of its own, for trainings of this label")
    train: tuple[Train, ...] = Field(
        min_length=1, description="one for each objective, or several that differ in settings"
    )
    inits: tuple[str, ...] = Field((), description="start weights, each for every objective; none: each training's own")
    seeds: tuple[int, ...] = Field((), description="each for every objective and start; none: each training's own")
    frozen: tuple[EncoderSpec, ...] = Field((), description="further encoders to evaluate as they are")
    pretraining: Pretraining | None = Field(None, description="makes the start weights 'pretraining' of inits")
    embed: Embed = Field(Embed(), description="settings of the embeddings")
    evaluate: Evaluate = Field(Evaluate(), description="settings of the evaluation")
    report: Report = Field(Report(), description="settings of the report")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [each.result_name for each in self.train]
        for name, told in (("inits", self.inits), ("seeds", list(map(str, self.seeds)))):
            if twice := [text for text, count in Counter(told).items() if count > 1]:
                raise ValueError(f"{name}: {', '.join(twice)} twice")
        given = [*(["init"] if self.inits else []), *(["seed"] if self.seeds else [])]
        refuse_repeated(self.train, self.shard, self.other_shards, given)
        for name, other in self.other_shards.items():
            if name not in names:
                raise ValueError(f"other_shards: no training is called {name!r}; there are {', '.join(names)}")
            if (other.splits, other.seed) != (self.shard.splits, self.shard.seed):
                raise ValueError(f"other_shards.{name}: other splits than shard's: encoders would not be comparable")
        wanted = PRETRAINING in {*self.inits, *(each.encoder.init for each in self.train)}
        if wanted != (self.pretraining is not None):
            raise ValueError(f"settings of `pretraining`, and {PRETRAINING!r} as an init, go together")
        for each in self.train:
            for init in self.inits:
                _encoder(each, init)
        return self


@dataclass(frozen=True)
class Cell:
    """One encoder of the grid: trained and embedded, or, without `train`, its start weights embedded as they are."""

    train: Train | None
    embed: Embed


def study(spec: Study) -> Path:
    """Run every stage, each of which goes on where an earlier try stopped, and return the report's path.

    Raises:
        ValueError: bad input of any stage; start weights that cannot be had are told before anything is trained.
    """
    _check(spec)
    tell = _Teller()
    tell("catalogue", "which specimens exist")
    settings, names = config.dump(spec), _with(spec.catalogue, out=spec.out / "catalogue")
    catalogue.build(names)
    shards = _with(spec.shard, catalogue=names.out, out=spec.out / "shards")
    outlook = _foreseen(spec, shards)
    with connection.connected():
        tell("shards", "every image checked, made small, put beside others of its genus")
        refused = shard(shards, said=outlook.absent)["counts"]["quarantined"]
        for name, other in spec.other_shards.items():
            shard(_with(other, catalogue=names.out, out=_shards(spec, name)), said=outlook.absent)
        if refused:  # the labels that are left may allow less
            told, outlook = outlook.left_out, foresee_again(shards.out, spec.embed, spec.evaluate)
            connection.say(lines([one for one in outlook.left_out if one not in told]))
        spec = _with(spec, embed=_with(spec.embed, splits=outlook.splits))
        trained, frozen = grid(spec, _pretrained(spec, tell))
        folders = [*_run(frozen, tell), *_run(trained, tell)]
        tell("evaluate", f"{len(folders)} encoders, {len(spec.evaluate.tasks)} tasks")
        judged = _with(spec.evaluate, embeddings=tuple(folders), store=spec.out, out=spec.out / "results.parquet")
        evaluate(judged, said=outlook.left_out)
        compared = tables.read(comparisons_file(judged.out), remedy(judged.out), schema.COMPARISON)
        for line in differences(compared, folders[len(frozen) :]):
            tell("compared", line)
    tell("report", "figures and one page")
    page = _with(
        spec.report,
        title=spec.title,
        results=judged.out,
        shards=shards.out,
        catalogue=names.out,
        embeddings=tuple(folders),
        runs=(spec.out / "train",),
        out=spec.out / "report.html",
        settings=settings,
    )
    path = report(page)
    tell("done", f"open {path} in a browser")
    return path


def grid(spec: Study, pretrained: str | None) -> tuple[list[Cell], list[Cell]]:
    """Every encoder to train, and every one to embed as it is, in the order of the settings.

    Args:
        spec: of the study.
        pretrained: address of the pretraining's encoder in the registry.

    Raises:
        ValueError: start weights that do not go with an encoder, or cannot be had.
    """
    jobs = [
        resolve_start_weights(
            refuse_own_start(_started(each, pretrained if pretrained and init == PRETRAINING else init, seed)), spec.out
        )
        for each in spec.train
        for init in spec.inits or [each.encoder.init]
        for seed in spec.seeds or [each.seed]
    ]
    names = run_folders(jobs, inits=len(spec.inits) > 1, seeds=len(spec.seeds) > 1)
    trained = [_cell(spec, job, name) for job, name in zip(jobs, names, strict=True)]
    frozen = [
        _frozen(spec, start, seed)
        for start in dict.fromkeys([*(job.encoder for job in jobs), *spec.frozen])
        for seed in (spec.seeds or (spec.train[0].seed,))[: None if start.init == "random" else 1]
    ]  # where all seeds give the same start, one is enough
    return trained, frozen


def _started(base: Train, init: str, seed: int) -> Train:
    """A training from other start weights, checked: not every start goes with every encoder."""
    job = base.model_copy(update={"encoder": _encoder(base, init), "seed": seed})
    check_start(job)
    return job


def _check(spec: Study) -> None:
    """All that can be known of the start weights before the pretraining, or anything else, has begun."""
    for each in spec.train:
        for init in spec.inits or [each.encoder.init]:
            if init == PRETRAINING and spec.pretraining:
                check_handed_over(each, spec.pretraining.train.encoder)
            else:
                refuse_own_start(_started(each, init, each.seed))
    if spec.pretraining:
        check_start(spec.pretraining.train)
    for start in spec.frozen:
        check_frozen(start, spec.train[0].seed)


def _foreseen(spec: Study, shards: Shard) -> Outlook:
    """All that catalogues and splits tell of the stages, before an image is read; says what is left out."""
    trainings = [
        (each, _with(spec.other_shards.get(each.result_name, shards), catalogue=shards.catalogue))
        for each in spec.train
    ]
    if before := spec.pretraining:
        catalogue.build(names := _with(before.catalogue, out=spec.out / PRETRAINING / "catalogue"))
        trainings += [(before.train, _with(before.shard, catalogue=names.out))]
    outlook = foresee(shards, spec.embed, spec.evaluate, trainings)
    connection.say(lines(outlook.left_out, outlook.absent))
    return outlook


def _encoder(base: Train, init: str) -> EncoderSpec:
    """The training's encoder from other start weights.

    Raises:
        ConfigError: its settings do not allow them, e.g. another stem.
    """
    tree = base.encoder.model_dump() | {"init": init}
    return config.parse(EncoderSpec, tree, origin=f"{base.objective.name} from {init}: encoder")


def _cell(spec: Study, job: Train, name: str) -> Cell:
    out, shards = spec.out.absolute(), _shards(spec, job.result_name)  # a cell may run in another process
    job = _with(job, shards=shards, store=out, out=out / "train" / name)
    return Cell(job, _with(_embedding(spec), shards=shards))


def _frozen(spec: Study, start: EncoderSpec, seed: int) -> Cell:
    return Cell(None, _with(_embedding(spec), model="start", start=start, seed=seed))


def _shards(spec: Study, called: str) -> Path:
    """Those that a training learns from."""
    return spec.out.absolute() / (f"shards-{folder(called)}" if called in spec.other_shards else "shards")


def _embedding(spec: Study) -> Embed:
    out = spec.out.absolute()
    return _with(spec.embed, shards=out / "shards", out=out / "embeddings", store=out)


def _pretrained(spec: Study, tell: "_Teller") -> str | None:
    """The address of the encoder that was trained on the other catalogue, for all trainings to start from."""
    if spec.pretraining is None:
        return None
    root, before = spec.out / PRETRAINING, spec.pretraining
    tell(PRETRAINING, f"{before.train.objective.name} encoder on another catalogue")
    shard(shards := _with(before.shard, catalogue=root / "catalogue", out=root / "shards"), said=schema.SPLITS)
    name = before.train.register_as or f"herbray-{PRETRAINING}"
    return train(_with(before.train, shards=shards.out, store=spec.out, out=root / "train", register_as=name)).uri


def _run(cells: Sequence[Cell], tell: "_Teller") -> list[Path]:
    """Make every cell's embeddings; returns their folders in the order of the cells."""
    alone = [place for place, cell in enumerate(cells) if _needs_no_ray(cell)]
    if len(alone) > 1:
        tell("encoders", f"{len(alone)} of them, side by side")
        done = dict(zip(alone, _side_by_side([cells[place] for place in alone]), strict=True))
    else:
        done = {}
    for place, cell in enumerate(cells):
        if place not in done:
            done[place] = _make(cell, tell)
    return [done[place] for place in range(len(cells))]


def _needs_no_ray(cell: Cell) -> bool:
    return cell.embed.actors == 0 and (cell.train is None or cell.train.workers == 0)


def _side_by_side(cells: Sequence[Cell]) -> Iterator[Path]:
    """One Ray task a cell; a fault ends the job, and the same command goes on with the cells that are left."""
    gpus = 1 if connection.resource("GPU") else 0
    run = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=3)(_make)
    refs = [run.remote(cell) for cell in cells]
    with connection.progress() as bar:
        job = bar.add_task("encoders", total=len(refs), unit="encoder")
        for ref in connection.as_they_end(refs):
            connection.got(ref)
            bar.advance(job)
    yield from map(connection.got, refs)


def _make(cell: Cell, tell: "_Teller | None" = None) -> Path:
    """Train, if it is to be trained, and embed; goes on where it stopped."""
    tell = tell or _Teller(quiet=True)
    wanted = cell.embed
    if cell.train is None:
        tell("embed", f"test splits with the frozen {wanted.start.init} start")
        return embed(wanted)
    tell("train", f"{cell.train.out.name} encoder from {cell.train.encoder.init} start weights")
    done = train(cell.train)
    tell("embed", f"test splits with {done.uri}")
    return embed(_with(wanted, model=done.uri))


def _with(spec: S, **values: object) -> S:
    return spec.model_copy(update=values)


class _Teller:
    """Says which stage begins, and how long all has taken."""

    def __init__(self, quiet: bool = False) -> None:
        self.began, self.quiet = time.monotonic(), quiet

    def __call__(self, stage: str, what: str) -> None:
        if self.quiet:
            return
        seconds = int(time.monotonic() - self.began)
        clock = f"{seconds // 60}:{seconds % 60:02d}"
        connection.console.print(f"[dim]{clock}[/dim] [bold]{stage:<10}[/bold] {what}", highlight=False, soft_wrap=True)

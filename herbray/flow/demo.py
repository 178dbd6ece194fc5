"""The whole story in one command: catalogue → shards → encoders → registry → embeddings → tasks → report."""

import time
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from herbray import config
from herbray.config import Spec
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.flow import cluster
from herbray.flow.embed import Embed, embed
from herbray.flow.evaluate import Evaluate, evaluate
from herbray.flow.material import Train
from herbray.flow.publish import Report, report
from herbray.flow.shard import Shard, shard
from herbray.flow.train import train

S = TypeVar("S", bound=Spec)


class Demo(Spec):
    """The story job: every stage's own settings; the folders between them are laid out below `out`."""

    out: Path = Path("runs/demo")
    title: str = "A synthetic herbarium"
    catalogue: Catalogue
    shard: Shard = Shard()
    train: tuple[Train, ...] = Field(min_length=1, description="one encoder each; one frozen start goes beside them")
    embed: Embed = Embed()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()


def demo(spec: Demo) -> Path:
    """Run every stage, each of which goes on where an earlier try stopped, and return the report's path."""
    began = time.monotonic()
    out = spec.out
    _tell(began, "catalogue", "which specimens exist")
    names = _with(spec.catalogue, out=out / "catalogue")
    catalogue.build(names)
    with cluster.connected():
        _tell(began, "shards", "every image checked, made small, put beside others of its genus")
        shards = _with(spec.shard, catalogue=names.out, out=out / "shards")
        shard(shards)
        folders = [_untrained(spec, began)]
        for each in spec.train:
            _tell(began, "train", f"{each.objective.name} encoder from {each.encoder.init} start weights")
            trained = train(_with(each, shards=shards.out, store=out, out=out / "train" / each.objective.name))
            _tell(began, "embed", f"test splits with {trained.uri}")
            wanted = {"model": trained.uri, "shards": shards.out, "out": out / "embeddings", "store": out}
            folders.append(embed(_with(spec.embed, **wanted)))
        _tell(began, "evaluate", "three applications, every encoder")
        judged = _with(spec.evaluate, embeddings=tuple(folders), store=out, out=out / "results.parquet")
        evaluate(judged)
    _tell(began, "report", "figures and one page")
    page = _with(
        spec.report,
        title=spec.title,
        results=judged.out,
        shards=shards.out,
        catalogue=names.out,
        embeddings=tuple(folders),
        runs=(out / "train",),
        out=out / "report.html",
        settings=config.dump(spec),
    )
    path = report(page)
    _tell(began, "done", f"open {path} in a browser")
    return path


def _untrained(spec: Demo, began: float) -> Path:
    """Embeddings of the start weights, frozen: what training must beat."""
    first = spec.train[0]
    _tell(began, "embed", f"test splits with the frozen {first.encoder.init} start")
    places = {"shards": spec.out / "shards", "out": spec.out / "embeddings", "store": spec.out}
    return embed(_with(spec.embed, model="start", start=first.encoder, seed=first.seed, **places))


def _with(spec: S, **values: object) -> S:
    return spec.model_copy(update=values)


def _tell(began: float, stage: str, what: str) -> None:
    seconds = int(time.monotonic() - began)
    cluster.console.print(
        f"[dim]{seconds // 60}:{seconds % 60:02d}[/dim] [bold]{stage:<10}[/bold] {what}", highlight=False
    )

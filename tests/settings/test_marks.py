import typing
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from herbray.config import Spec, find_specs
from herbray.flow.sweep.job import Tune
from herbray.flow.training.specification import Train
from herbray.model.objectives.distil import Distil
from herbray.settings.marks import Mark, dump_without, flatten, mark_at, mark_of, role_at


class Inner(Spec):
    folder: Annotated[Path | None, Mark("place")] = None
    depth: int = 3


class Job(Spec):
    out: Annotated[Path, Mark("place")] = Path("runs")
    label: Annotated[str | None, Mark("name")] = Field(None, max_length=9)
    epochs: Annotated[int, Mark(why="all alike")] = 1
    inner: Inner = Inner()
    aside: Annotated[Inner, Mark("conduct")] = Inner()


def fields(kind, prefix="", role=None):
    """Dotted path → role of every setting that a job can hold, whichever member of a union it names."""
    found = {}
    for name, info in kind.model_fields.items():
        mark = mark_of(kind, name)
        mine = role or (mark.role if mark else None)
        inner = [*find_specs(info.annotation)]
        for each in inner:
            found |= fields(each, f"{prefix}{name}.", mine)
        if len(inner) < len(typing.get_args(info.annotation)) or not inner:
            found[f"{prefix}{name}"] = mine
    return found


PLACES = {"shards", "out", "store", "objective.teacher"}
MARKED = {
    "place": PLACES,
    "conduct": {
        *(f"loader.{name}" for name in ("decode", "threads", "ahead", "windows", "cache", "cache_gb")),
        *(f"checkpoints.{name}" for name in ("seconds", "windows", "last")),
        *("workers", "workers.min", "workers.max", "workers.look_s"),
        *("cpus_per_worker", "device", "compile", "max_failures", "patience_s"),
    },
    "progress": {"reports"},
    "measure": {"validate_rows", "neighbours"},
    "choice": {"keep"},
    "name": {"label", "register_as", "experiment"},
}
OBJECTIVE = {
    *("name", "group", "views", "rivals"),
    *("margin", "normalise", "mining", "latent", "width"),
    *("hidden", "dropout_features", "dropout_hidden", "temperature", "projection"),
    *("centres", "scale", "decay", "bottleneck"),
}
BEARING = {
    *(f"objective.{name}" for name in (*OBJECTIVE, "share")),
    *(f"objective.beside.{name}" for name in OBJECTIVE),
    *("encoder.arch", "encoder.init", "encoder.normalise", "encoder.stem", "encoder.size"),
    *(f"optimizer.{name}" for name in ("name", "lr", "weight_decay", "schedule", "warmup")),
    *("optimizer.layer_decay", "optimizer.freeze", "optimizer.average"),
    *(f"augment.{name}" for name in ("flip", "rotate", "zoom", "warp", "p_affine", "brightness", "contrast")),
    *(f"augment.{name}" for name in ("p_light", "crop_scale", "padding", "zoom_about", "light", "saturation", "tint")),
    *("stream.batch", "stream.window", "stream.align", "stream.balance", "stream.herbaria"),
    *("epochs", "precision", "seed", "sides"),
}


def test_every_setting_of_a_training_has_a_decided_role():
    """A new field fails here: mark it, or list it as one that makes another run."""
    found = fields(Train)
    assert {path for path, role in found.items() if role is None} == BEARING
    assert {role: {path for path, each in found.items() if each == role} for role in MARKED} == MARKED


def test_every_setting_of_a_sweep_has_a_decided_role():
    marked = {name: mark.role for name in Tune.model_fields if (mark := mark_of(Tune, name))}
    assert marked == {
        **{"out": "place", "store": "place", "experiment": "name"},
        **{"concurrent": "conduct", "retry_failed": "conduct", "scales": "conduct"},
    }


def test_fields_of_a_role_are_left_out_at_any_depth():
    tree = dump_without(Job(inner=Inner(folder=Path("/home/ann"))), "place")
    assert tree == {"label": None, "epochs": 1, "inner": {"depth": 3}, "aside": {"depth": 3}}
    assert dump_without(Job(), "place", "name", "conduct") == {"epochs": 1, "inner": {"depth": 3}}
    assert dump_without(Job()) == Job().model_dump(mode="json")
    assert flatten(dump_without(Job(), "name")) == {
        **{"out": "runs", "epochs": 1, "inner.folder": None, "inner.depth": 3},
        **{"aside.folder": None, "aside.depth": 3},
    }


def test_a_field_has_the_mark_of_the_one_that_holds_it():
    job = Job()
    assert (role_at(job, "aside.depth"), role_at(job, "inner.folder")) == ("conduct", "place")
    assert (role_at(job, "inner.depth"), role_at(job, "epochs")) == (None, None)
    assert (role_at(job, "nowhere.at"), role_at(job, "label.more")) == (None, "name")
    assert mark_at(job, "epochs").reason == "all alike"
    assert mark_at(job, "out").reason == "it says where files are, not what is learned"


@pytest.mark.parametrize("path", sorted(path for path, role in fields(Train).items() if role))
def test_every_marked_setting_has_a_reason_why_a_sweep_must_not_vary_it(path):
    job = Train(objective=Distil()) if path.startswith("objective.") else Train()
    assert mark_at(job, path).reason

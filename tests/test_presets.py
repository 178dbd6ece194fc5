import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from herbray import cli, config
from herbray.config import ConfigError, Spec

ROOT = Path(__file__).parents[1]
KINDS = {
    verb: getattr(importlib.import_module(cli.VERBS[verb][0]), cli.VERBS[verb][1])
    for verb in ("catalogue", "shard", "train", "embed", "evaluate", "study")
}
SHIPPED = sorted((ROOT / "jobs/walker2022").glob("*.yaml"))


def train(**tree):
    return config.parse(KINDS["train"], {"preset": "walker2022"} | tree)


@pytest.mark.parametrize("kind", ["shard", "train", "embed", "evaluate"])
def test_the_default_preset_is_the_defaults(kind):
    assert config.parse(KINDS[kind], {"preset": "herbray"}) == KINDS[kind]()


@pytest.mark.parametrize("name", [path.stem for path in config.PRESETS.glob("*.yaml")])
def test_every_section_of_a_preset_is_valid_settings(name):
    for section in yaml.safe_load((config.PRESETS / f"{name}.yaml").read_text(encoding="utf-8")):
        kind, _, condition = section.partition(" ")
        tree = (
            {"preset": name, "source": {"name": "synthetic", "path": "x"}} if kind == "catalogue" else {"preset": name}
        )
        if condition:
            path, _, value = condition.partition("=")
            outer, inner = path.split(".")
            tree[outer] = {inner: value}
        assert isinstance(config.parse(KINDS[kind], tree), Spec)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_job_of_the_study_loads_and_its_head_is_the_command_that_runs_it(path):
    verb = {"pretrain": "train"}.get(path.stem.partition("-")[0], path.stem.partition("-")[0])
    config.load(KINDS[verb], path)
    assert path.read_text(encoding="utf-8").startswith(f"# herbray {verb} jobs/walker2022/{path.name}")


PLACES = {"catalogue", "shards", "out", "store", "model", "embeddings"}


def shipped(name):
    """The settings of a job of the study, less the folders that it reads and writes."""
    path = ROOT / f"jobs/walker2022/{name}.yaml"
    return config.load(KINDS[name.partition("-")[0]], path).model_dump(exclude=PLACES)


def test_the_study_in_one_job_is_its_steps():
    whole = config.load(KINDS["study"], ROOT / "jobs/walker2022/study.yaml")
    for stage in ("shard", "embed", "evaluate"):
        assert getattr(whole, stage).model_dump(exclude=PLACES) == shipped(stage)
    classifier, triplet, autoencoder = (each.model_dump(exclude=PLACES) for each in whole.train)
    assert classifier == shipped("train-classifier")
    assert triplet == shipped("train-triplet")
    alone = shipped("train-autoencoder")
    before = whole.pretraining.train
    assert alone["encoder"].pop("init") == f"models:/{before.register_as}@candidate"
    assert autoencoder["encoder"].pop("init") == "pretraining"
    assert autoencoder == alone
    path = ROOT / "jobs/walker2022/pretrain.yaml"
    assert before.model_dump(exclude=PLACES) == config.load(KINDS["train"], path).model_dump(exclude=PLACES)
    assert before.encoder.size == whole.pretraining.shard.side  # CIFAR-10 as it is
    assert (whole.inits, whole.seeds[0]) == ((), before.seed)


def test_the_study_as_it_is_told():
    spec = train()
    assert (spec.optimizer.name, spec.optimizer.schedule, spec.optimizer.warmup, spec.optimizer.weight_decay) == (
        "adam",
        "constant",
        0,
        0,
    )
    assert (spec.epochs, spec.keep, spec.precision, spec.seed) == (25, "last", "float32", 89)
    assert (spec.encoder.arch, spec.encoder.normalise, spec.encoder.size) == ("resnet18", False, 256)
    triplet = spec.objective
    assert (triplet.name, triplet.margin, triplet.normalise, triplet.mining) == ("triplet", 1.0, False, "published")
    assert spec.stream.batch - triplet.rivals == 32  # anchors of a step
    rates = {name: train(objective={"name": name}).optimizer.lr for name in ("triplet", "classifier", "autoencoder")}
    assert rates == {"triplet": 1e-3, "classifier": 1e-3, "autoencoder": 1e-4}
    drawn = train(objective={"name": "autoencoder"})
    assert (drawn.encoder.stem, drawn.objective.latent, drawn.objective.width) == ("cifar", 256, 64)
    shard = config.parse(KINDS["shard"], {"preset": "walker2022"})
    assert (shard.side, shard.splits.cap, shard.splits.species, shard.splits.random) == (512, 25, 0.1, 0.1)
    kinds = {task.name: task for task in config.parse(KINDS["evaluate"], {"preset": "walker2022"}).tasks}
    assert (kinds["identify"].max_iter, kinds["discriminate"].max_iter) == (5000, 2500)
    assert [pair.level for pair in kinds["mislabel"].pairs] == ["Syzygium–Eugenia", "Syzygium–Dendrobium"]


def test_the_own_keys_win_and_choose_the_section():
    spec = train(objective={"name": "classifier", "hidden": 64}, encoder={"init": "random"}, epochs=2)
    assert (spec.objective.hidden, spec.objective.dropout_hidden) == (64, 0.5)
    assert (spec.encoder.init, spec.encoder.normalise, spec.epochs) == ("random", False, 2)
    assert spec.stream.batch == 32
    assert train().stream.batch == 48


def test_a_preset_leaves_its_settings_and_no_name(tmp_path):
    text = config.dump(train())
    assert "preset" not in yaml.safe_load(text)
    (tmp_path / "job.yaml").write_text(text, encoding="utf-8")
    assert config.load(KINDS["train"], tmp_path / "job.yaml") == train()


def test_a_preset_may_be_named_on_the_command_line_and_inside_another_job(tmp_path):
    assert config.load(KINDS["train"], None, ["preset=walker2022"]) == train()

    class Two(Spec):
        train: KINDS["train"]

    assert config.parse(Two, {"train": {"preset": "walker2022"}}).train == train()
    assert "preset" not in inspect.signature(KINDS["train"]).parameters


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"preset": "walker2021"}, "no preset 'walker2021'; did you mean 'walker2022'"),
        ({"preset": 7}, "no preset 7; herbray, walker2022"),
        (
            {"optimizer": {"preset": "walker2022"}},
            "optimizer: preset 'walker2022' says nothing of this; .*shard, train",
        ),
        ({"preset": "walker2022", "epoch": 3}, "epoch: unknown key; did you mean 'epochs'"),
        ({"preset": "walker2022", "stream": {"batch": 48}, "objective": {"mining": "all"}}, "rivals=16 serve mining"),
    ],
)
def test_what_cannot_be_is_told(tree, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(KINDS["train"], tree)


@pytest.mark.parametrize("path", sorted((ROOT / "jobs/experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_loads_and_has_three_seeds(path):
    from herbray.flow.tune import Tune

    for overrides in ([], ["scale=full"], ["train.objective.name=classifier"]):
        spec = config.load(Tune, path, overrides)
        assert spec.searcher == "grid"
        assert len(spec.space["seed"].values) == 3
    assert path.read_text(encoding="utf-8").startswith(f"# herbray tune jobs/experiments/{path.name}")

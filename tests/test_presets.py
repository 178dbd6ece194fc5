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
    """The settings of a job of the study, without the folders that it reads and writes."""
    path = ROOT / f"jobs/walker2022/{name}.yaml"
    return config.load(KINDS[name.partition("-")[0]], path).model_dump(exclude=PLACES)


def test_the_study_in_one_job_equals_its_steps():
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


STUDY = {  # dotted path → value; the comments name the sections of the paper
    "shard": {  # Data
        "side": 512,  # Images: a square of the short side at 512 px first
        "geometry": "crop",
        "splits.cap": 25,  # step 1
        "splits.home": "auto",  # step 2: the institution with most sheets, New York in the study
        "splits.species": 0.1,  # step 3
        "splits.random": 0.1,  # step 4
        "splits.min_train": 2,  # step 5
        "splits.validation": 0.2,  # train / validation 80 / 20, by genus; shards-plain for the autoencoder
        "splits.stratify": True,
        "seed": 89,
    },
    "train": {  # Images and Networks: settings that all three share
        "augment.flip": 0.5,
        "augment.rotate": 10,
        "augment.zoom": 1.1,
        "augment.warp": 0.2,
        "augment.p_affine": 0.75,
        "augment.brightness": 0.2,
        "augment.contrast": 0.2,
        "augment.saturation": 0,
        "augment.tint": 0,
        "augment.p_light": 0.75,
        "augment.crop_scale": 0.75,
        "augment.padding": "reflection",
        "augment.zoom_about": "anywhere",
        "augment.light": "logit",
        "encoder.arch": "resnet18",
        "encoder.normalise": False,  # pixels in [0, 1]
        "encoder.size": 256,
        "optimizer.name": "adam",
        "optimizer.weight_decay": 0,
        "optimizer.schedule": "constant",
        "optimizer.warmup": 0,
        "optimizer.layer_decay": 1,
        "optimizer.freeze": 0,
        "optimizer.average": 0,
        "precision": "float32",
        "epochs": 25,
        "keep": "last",
        "seed": 89,
        "workers": 1,  # one V100
        "stream.balance": 0,  # an epoch is the unchanged training split
        "objective.views": 1,
    },
    "classifier": {  # Networks: its column
        "encoder.init": "imagenet",
        "encoder.stem": "standard",
        "optimizer.lr": 1e-3,
        "stream.batch": 32,
        "objective.group": 1,
        "objective.rivals": 0,
        "objective.hidden": 512,
        "objective.dropout_features": 0.25,
        "objective.dropout_hidden": 0.5,
    },
    "triplet": {
        "encoder.init": "imagenet",
        "encoder.stem": "standard",
        "optimizer.lr": 1e-3,
        "stream.batch": 48,  # 32 anchors and 16 rivals: docs/how-to/presets.md
        "objective.mining": "published",
        "objective.group": 2,
        "objective.rivals": 16,
        "objective.margin": 1.0,
        "objective.normalise": False,  # 512 numbers, not normalised
    },
    "autoencoder": {
        "encoder.init": "models:/walker2022-pretraining@candidate",
        "encoder.stem": "cifar",
        "optimizer.lr": 1e-4,
        "stream.batch": 32,
        "objective.group": 1,
        "objective.rivals": 0,
        "objective.latent": 256,
        "objective.width": 64,
    },
    "embed": {  # Images: feature extraction; the untrained start is that of the networks
        "start.arch": "resnet18",
        "start.init": "imagenet",
        "start.normalise": False,
        "start.stem": "standard",
        "start.size": 256,
        "splits": ("train", "herbarium", "species", "random"),  # train: for silhouettes and to fit the map
    },
    "identify": {  # The three applications: 1
        "splits": ("herbarium", "species", "random"),
        "ranks": ("genus", "family", "order"),
        "folds": 5,
        "C": 1,
        "class_weight": "balanced",
        "max_iter": 5000,
    },
    "discriminate": {  # 2
        "pairs.0.level": "Syzygium–Eugenia",
        "pairs.0.kind": "similar",
        "pairs.1.level": "Syzygium–Dendrobium",
        "pairs.1.kind": "distinct",
        "folds": 5,
        "C": 1,
        "class_weight": "balanced",
        "max_iter": 2500,
    },
    "mislabel": {  # 3
        "pairs.0.level": "Syzygium–Eugenia",
        "pairs.1.level": "Syzygium–Dendrobium",
        "share": 0.1,
        "folds": 5,
        "C": 1,
        "class_weight": None,
        "max_iter": 2500,
        "draws": 20,  # one in the study
    },
    "silhouette": {  # also
        "splits": ("train",),
        "ranks": ("genus", "family", "order"),
    },
}


def jobs():
    """The jobs of the preset, by the name of their section in `STUDY`."""
    found = {kind: config.parse(KINDS[kind], {"preset": "walker2022"}) for kind in ("shard", "train", "embed")}
    judged = config.parse(KINDS["evaluate"], {"preset": "walker2022"})
    found |= {name: train(objective={"name": name}) for name in ("classifier", "triplet", "autoencoder")}
    assert judged.seed == 89
    return found | {task.name: task for task in judged.tasks}


def at(spec, path):
    for key in path.split("."):
        spec = spec[int(key)] if key.isdigit() else getattr(spec, key)
    return spec


@pytest.mark.slow
@pytest.mark.parametrize("section", STUDY)
def test_the_settings_are_those_of_the_study(section):
    found = jobs()
    for name in ("classifier", "triplet", "autoencoder") if section == "train" else (section,):
        assert {path: at(found[name], path) for path in STUDY[section]} == STUDY[section]


def test_every_split_that_a_task_of_the_study_reads_is_embedded():
    embedded = config.parse(KINDS["embed"], {"preset": "walker2022"}).splits
    tasks = config.parse(KINDS["evaluate"], {"preset": "walker2022"}).tasks
    assert {part for task in tasks for pool in task.splits for part in pool.split("+")} <= set(embedded)


def test_no_setting_of_an_objective_or_of_the_augmentation_is_left_to_the_defaults():
    for name in ("classifier", "triplet", "autoencoder"):
        spec = train(objective={"name": name})
        told = STUDY["train"] | STUDY[name]
        for part in ("objective", "augment", "encoder", "optimizer"):
            fields = {f"{part}.{key}" for key in type(getattr(spec, part)).model_fields} - {"objective.name"}
            assert fields <= told.keys()


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
        ({"preset": 7}, "no preset 7; known presets: herbray, walker2022"),
        (
            {"optimizer": {"preset": "walker2022"}},
            "optimizer: preset 'walker2022' has no settings for 'optimizer', only for: .*shard, train",
        ),
        ({"preset": "walker2022", "epoch": 3}, "epoch: unknown key; did you mean 'epochs'"),
        (
            {"preset": "walker2022", "stream": {"batch": 48}, "objective": {"mining": "all"}},
            "rivals=16, but only mining=published",
        ),
    ],
)
def test_an_invalid_use_of_a_preset_is_reported(tree, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(KINDS["train"], tree)

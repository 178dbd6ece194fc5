import importlib
from pathlib import Path

import pytest

from herbray import cli, config
from herbray.settings.marks import flatten

ROOT = Path(__file__).parents[1]
KINDS = {
    verb: getattr(importlib.import_module(cli.VERBS[verb][0]), cli.VERBS[verb][1])
    for verb in ("shard", "train", "study")
}
DEFAULTS = {
    "train.encoder.normalise",
    "train.optimizer.schedule",
    "train.optimizer.warmup",
    "train.optimizer.weight_decay",
    "train.augment.light",
    "train.augment.zoom_about",
    "train.keep",
}


@pytest.mark.parametrize("path", sorted((ROOT / "jobs/experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_varies_one_setting_per_training_and_has_three_seeds(path):
    spec = config.load(KINDS["study"], path)
    assert len(spec.seeds) == 3
    assert path.read_text(encoding="utf-8").startswith(f"# herbray study jobs/experiments/{path.name}")
    first, changed = {}, set()
    for each in spec.train:
        shards = spec.other_shards.get(each.result_name, spec.shard)
        tree = flatten({"train": each.model_dump(exclude={"label"}), "shard": shards.model_dump()})
        ours = first.setdefault(each.objective.name, tree)
        if ours is tree:
            continue
        differ = {key for key in ours if ours[key] != tree[key]}
        assert 1 <= len(differ) <= 2  # a schedule has two settings: its curve and its warm-up
        changed |= differ
        if path.stem not in ("window", "sizes"):  # whose first training is not the defaults
            defaults = flatten({"train": each.__class__().model_dump(), "shard": KINDS["shard"]().model_dump()})
            assert {key: ours[key] for key in differ} == {key: defaults[key] for key in differ}
        if path.stem not in ("window", "geometry", "colour", "herbaria", "sizes", "verdicts"):
            study = flatten({"train": config.parse(KINDS["train"], {"preset": "walker2022"}).model_dump()})
            assert {key: tree[key] for key in differ} == {key: study[key] for key in differ}
    expected = {
        "geometry": {"shard.geometry"},
        "window": {"train.stream.window"},
        "colour": {"train.augment.saturation", "train.augment.tint"},
        "verdicts": {"shard.labels.verdicts"},
        "herbaria": {"train.stream.herbaria", "shard.mask"},
        "sizes": {"train.encoder.size", "train.encoder.init", "train.epochs", "train.sides"},
    }
    assert changed == expected.get(path.stem, DEFAULTS)

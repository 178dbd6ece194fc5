import importlib
from pathlib import Path

import pytest

from herbray import cli, config
from herbray.config import ConfigError
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.flow.embedding.specification import Embed
from herbray.flow.study.specification import Study
from herbray.flow.training.specification import Train
from herbray.settings.root import ROOT_VARIABLE

JOBS = Path(__file__).parents[2] / "jobs"


@pytest.fixture(autouse=True)
def no_root(monkeypatch):
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)


def paths(value):
    """All paths in a specification."""
    if isinstance(value, Path):
        return [value]
    if isinstance(value, config.Spec):
        return [path for _, inner in value for path in paths(inner)]
    if isinstance(value, dict):
        return paths(tuple(value.values()))
    return [path for inner in value for path in paths(inner)] if isinstance(value, tuple) else []


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_path_of_every_job_file_lies_under_the_root(verb, monkeypatch):
    module, kind, _, _ = cli.VERBS[verb]
    kind, file = getattr(importlib.import_module(module), kind), sorted(JOBS.glob(f"{verb}*.yaml"))[0]
    here = config.load(kind, file)
    monkeypatch.setenv(ROOT_VARIABLE, "/shared/prefix")
    there = config.load(kind, file)
    assert paths(there) == [Path("/shared/prefix") / path for path in paths(here)]
    assert paths(there)
    assert there.model_fields_set == here.model_fields_set


def test_the_setting_takes_precedence_and_absolute_paths_stay(monkeypatch):
    monkeypatch.setenv(ROOT_VARIABLE, "/other")
    job = config.load(Train, JOBS / "train.yaml", ["root=/shared", "shards=/data/shards"])
    assert (job.shards, job.out, job.store) == (
        Path("/data/shards"),
        Path("/shared/runs/train/triplet"),
        Path("/shared/runs"),
    )


def test_start_weights_and_models_are_paths_unless_they_are_words_or_addresses():
    def placed(*overrides):
        return config.load(Train, None, ["root=/shared", *overrides]).encoder.init

    assert placed() == "random"
    assert placed("encoder.init=imagenet") == "imagenet"
    assert placed("encoder.init=models:/herbray-triplet@champion") == "models:/herbray-triplet@champion"
    assert placed("encoder.init=weights.pth") == "/shared/weights.pth"
    assert (
        config.load(Embed, None, ["root=/shared", "model=runs/train/a/encoder"]).model == "/shared/runs/train/a/encoder"
    )
    assert config.load(Embed, None, ["root=/shared", "model=start"]).model == "start"
    study = config.load(Study, JOBS / "study-leaves6.yaml", ["root=/shared"])
    assert study.inits == ("random", "pretraining")
    assert config.load(Study, JOBS / "demo.yaml", ["root=/shared", "inits=[w.pth]"]).inits == ("/shared/w.pth",)


@pytest.mark.parametrize("value", ["3", "''", "[a]"])
def test_a_root_that_is_no_path_is_refused(value):
    with pytest.raises(ConfigError, match="root: must be the path or address of a folder"):
        config.load(Train, None, [f"root={value}"])


def test_a_catalogue_under_a_root_is_that_of_the_folder_itself(tmp_path, monkeypatch):
    words = ["source={name: synthetic, path: sheets, sheets: 40, size: 32}", "out=catalogue"]
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    here = catalogue.build(config.load(Catalogue, None, words))
    assert cli.run("catalogue", None, [f"root={tmp_path / 'root'}", *words]) == 0
    assert sorted(each.name for each in below.iterdir()) == ["catalogue", "sheets"]
    there = (tmp_path / "root" / "catalogue" / "manifest.json").read_text(encoding="utf-8")
    assert here["fingerprint"] in there

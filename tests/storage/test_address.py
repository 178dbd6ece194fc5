from pathlib import Path

import pytest

from herbray import config, storage
from herbray.config import ConfigError
from herbray.flow.embedding.specification import Embed
from herbray.flow.training.specification import Train
from herbray.storage.address import Place, cache_folder, path_of, place_of, show_all


def test_an_address_is_a_path_below_the_cache_and_is_shown_as_the_address():
    path = path_of("s3://sheets/archive/a.parquet")
    assert path == cache_folder() / "herbray-objects/s3/sheets/archive/a.parquet"
    assert place_of(path) == Place("s3", "sheets", "archive/a.parquet")
    assert storage.show(path) == "s3://sheets/archive/a.parquet"
    assert place_of(path_of("gs://sheets")) == Place("gs", "sheets", "")
    assert show_all(f"run `herbray shard out={path}` again; {path.parent}: no") == (
        "run `herbray shard out=s3://sheets/archive/a.parquet` again; s3://sheets/archive: no"
    )
    assert path_of("file:///data/a%20b") == Path("/data/a b")
    assert path_of("/data/x") == Path("/data/x")
    assert place_of(Path("/data/x")) is None


def test_the_address_is_known_on_a_node_with_another_cache(monkeypatch):
    path = path_of("s3://sheets/a/b")
    monkeypatch.setenv("HERBRAY_CACHE", "/elsewhere")
    assert place_of(path) == Place("s3", "sheets", "a/b")


def test_working_files_stay_on_this_machine():
    assert place_of(path_of("s3://sheets/a").with_name(".a.123.tmp")) is None
    assert place_of(path_of("s3://sheets/a") / ".000000004.77" / "training.pt") is None


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("hdfs://node/x", "addresses of type hdfs:// are not supported: use s3://, gs://, file:// or a path"),
        ("http://host/x", "addresses of type http:// are not supported"),
        ("s3://", "must begin with the name of a bucket"),
        ("s3://b!d/x", "must begin with the name of a bucket"),
        ("s3://sheets/.hidden/x", "'.hidden' begins with a dot"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(address, why):
    with pytest.raises(ConfigError, match=why):
        config.load(Train, None, [f"shards={address}"])
    with pytest.raises(ConfigError, match=f"root: .*{why}"):
        config.load(Train, None, [f"root={address}"])


@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIAKEY:hunter2@sheets/x",
        "s3://AKIAKEY:hun/ter2@sheets/x",
        "s3://hunter2@sheets",
        "s3://sheets/x?secret_key=hunter2",
        "gs://user:hunter2@sheets/x",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_shown(address, monkeypatch, capsys):
    from herbray import cli

    for words in (
        [f"shards={address}"],
        [f"root={address}"],
        [f"shards={address}", "epochs=none"],
        [f"no.such={address}"],
    ):
        with pytest.raises(ConfigError, match="must not hold credentials") as refused:
            config.load(Train, None, words)
        assert "hun" not in str(refused.value)
        assert cli.run("train", None, words) == 1
    monkeypatch.setenv("HERBRAY_ROOT", address)
    assert cli.run("train", None, []) == 1
    shown = capsys.readouterr()
    assert "hun" not in shown.out + shown.err


def test_every_path_of_a_job_lies_under_the_address_of_the_root(monkeypatch):
    monkeypatch.setenv("HERBRAY_ROOT", "s3://sheets/prefix")
    job = config.load(Train, Path(__file__).parents[2] / "jobs" / "train.yaml", ["encoder.init=start.pth"])
    assert storage.show(job.shards) == "s3://sheets/prefix/runs/shards"
    assert storage.show(Path(job.encoder.init)) == "s3://sheets/prefix/start.pth"
    assert config.load(Embed, None, ["model=models:/m@champion"]).model == "models:/m@champion"
    assert config.load(Train, None, ["shards=/data/shards"]).shards == Path("/data/shards")
    assert config.load(Train, None, ["shards=gs://other/shards"]).shards == path_of("gs://other/shards")
    text = config.dump(job)
    assert "shards: s3://sheets/prefix/runs/shards" in text
    assert "herbray-objects" not in text

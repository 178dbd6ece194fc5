import joblib
import pytest

from herbray.config import parse
from herbray.flow.input.batches import LoaderSpec, decoding_threads, sequential_batches
from herbray.flow.input.loader import load_batches
from herbray.flow.input.window_reader import WindowReader
from herbray.flow.shards.manifest import read_manifest
from herbray.flow.training.runs.identity import run_name
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data


@pytest.fixture
def spec(shards):
    return parse(
        Train,
        {
            "shards": shards,
            "encoder": {"arch": "mobilenet_v3_small", "size": 32},
            "stream": {"batch": 16, "window": 8},
            "epochs": 1,
        },
    )


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("cache", [False, True])
def test_without_ray_it_gives_the_batches_of_the_plan(spec, tmp_path, cache, place):
    windows, reader = read_training_data(spec).windows, WindowReader(spec.shards, 40)
    loader = LoaderSpec(cache=tmp_path if cache else None)
    given = load_batches(
        windows, reader, loader, read_manifest(spec.shards)["fingerprint"], local_workers=2, local_rank=place
    )
    for one, two in zip(given, sequential_batches(windows, reader), strict=True):
        assert (one.images == two.images).all()
        assert (one.rows == two.rows).all()
    assert bool(list(tmp_path.rglob("*.u8"))) == cache


def test_the_loader_is_not_part_of_a_runs_identity(spec, tmp_path):
    other = LoaderSpec(decode="tasks", threads=1, ahead=7, cache=tmp_path)
    assert run_name(spec) == run_name(spec.model_copy(update={"loader": other}))


@pytest.mark.parametrize(
    ("asked", "workers", "threads"), [(None, 1, 8), (None, 3, 2), (3, 1, 3), (99, 2, 4), (5, 99, 1)]
)
def test_threads_never_exceed_a_workers_share_of_the_cores(monkeypatch, asked, workers, threads):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    assert decoding_threads(LoaderSpec(threads=asked), workers) == threads

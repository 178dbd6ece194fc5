import json

import pytest

from herbray import config, storage
from herbray.flow.training.runs.identity import public_settings, run_name, run_settings, validation_settings
from herbray.flow.training.specification import Train

# What does not bear on what is learned, by role.
OTHERS = {
    "name": {"label": "ours", "register_as": "better", "experiment": "second"},
    "progress": {"reports": 9},
    "measure": {"neighbours": 1, "validate_rows": 64},
    "choice": {"keep": "last"},
    "conduct": {
        **{"workers": {"min": 1, "max": 3}, "cpus_per_worker": 2, "compile": "off", "max_failures": 0},
        **{"patience_s": 5, "checkpoints": {"windows": 3}, "loader": {"threads": 1, "cache": "/cache"}},
    },
    "place": {"out": "/elsewhere", "store": "/store"},
}
BEARING = {
    "objective": {"name": "triplet", "margin": 0.3},
    "encoder": {"size": 128},
    "optimizer": {"lr": 0.1},
    "augment": {"flip": 0.0},
    "stream": {"batch": 32},
    "epochs": 26,
    "precision": "float32",
    "seed": 90,
}


@pytest.fixture
def make(tmp_path):
    """A training on shards of which nothing but the fingerprint is read."""
    storage.write_note(tmp_path / "shards/manifest.json", {"fingerprint": "5a5a5a5a"})
    return lambda **values: config.parse(Train, {"shards": tmp_path / "shards"} | values)


@pytest.mark.parametrize("role", OTHERS)
def test_settings_that_do_not_change_learning_do_not_change_the_run_name(make, role):
    for name, value in OTHERS[role].items():
        assert run_name(make(**{name: value})) == run_name(make()), name


@pytest.mark.parametrize("name", BEARING)
def test_another_value_of_what_bears_on_what_is_learned_is_another_run(make, name):
    assert run_name(make(**{name: BEARING[name]})) != run_name(make())


def test_other_images_are_another_run_and_the_same_ones_elsewhere_are_not(make, tmp_path):
    other = tmp_path / "mounted" / "elsewhere"
    storage.write_note(other / "manifest.json", {"fingerprint": "5a5a5a5a"})
    assert run_name(make(shards=other)) == run_name(make())
    storage.write_note(other / "manifest.json", {"fingerprint": "6b6b6b6b"})
    assert run_name(make(shards=other)) != run_name(make())


@pytest.mark.parametrize("form", ["a folder with an encoder", "a file of ImageNet weights"])
def test_start_weights_that_lie_elsewhere_are_the_same_run(make, tmp_path, monkeypatch, form):
    places = [tmp_path / "one", tmp_path / "mounted" / "two"]
    for place in places:
        place.mkdir(parents=True)
        (place / "encoder.safetensors").write_bytes(b"weights")
    starts = places if form.startswith("a folder") else [place / "encoder.safetensors" for place in places]
    first, second = (run_name(make(encoder={"init": str(start)})) for start in starts)
    assert first == second
    monkeypatch.chdir(places[0].parent)
    assert run_name(make(encoder={"init": str(starts[0].relative_to(tmp_path))})) == first
    (places[1] / "encoder.safetensors").write_bytes(b"other weights")
    assert run_name(make(encoder={"init": str(starts[1])})) != first


def test_trials_that_are_measured_or_kept_in_another_way_are_not_compared(make):
    assert validation_settings(make()) == {"keep": "best", "validate_rows": 4096, "neighbours": 5}
    for values in ({"keep": "last"}, {"neighbours": 1}, {"validate_rows": 64}):
        assert validation_settings(make(**values)) != validation_settings(make())


def test_no_place_is_shown(make, tmp_path):
    spec = make(
        out=tmp_path / "out", store=tmp_path, loader={"cache": tmp_path / "c"}, encoder={"init": str(tmp_path / "pre")}
    )
    for tree in (public_settings(spec), public_settings(spec, "conduct")):
        assert str(tmp_path) not in json.dumps(tree)
        assert tree["encoder"]["init"] == "pre"
    assert "workers" in public_settings(spec)
    assert "workers" not in public_settings(spec, "conduct")
    assert run_settings(spec)["shards fingerprint"] == "5a5a5a5a"

import pytest

from herbray import storage
from herbray.flow.training.metrics_log import append_metrics
from herbray.flow.training.runs.folder import Runs, claim, read_runs


def test_while_another_training_has_the_folder_it_shows_no_version(tmp_path):
    claim(tmp_path, "a", {})
    append_metrics(tmp_path / "metrics.jsonl", {"images": 1})
    (tmp_path / "trained.json").write_text("{}")
    claim(tmp_path, "a", {})
    assert (tmp_path / "trained.json").exists()
    claim(tmp_path, "b", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics-a.jsonl", "run.json"]
    claim(tmp_path, "a", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "run.json"]


def test_a_folder_keeps_the_settings_of_all_its_runs(tmp_path):
    assert read_runs(tmp_path) == Runs()
    claim(tmp_path, "a", {"epochs": 2})
    claim(tmp_path, "b", {"epochs": 3})
    claim(tmp_path, "a", {"epochs": 2, "label": "x"})
    assert read_runs(tmp_path) == Runs("a", {"a": {"epochs": 2, "label": "x"}, "b": {"epochs": 3}})


def test_a_folder_of_an_earlier_version_has_a_run_without_settings(tmp_path):
    (tmp_path / "run.json").write_text('{"run": "triplet-0a1b"}')
    assert read_runs(tmp_path) == Runs("triplet-0a1b", {})
    claim(tmp_path, "b", {"epochs": 3})
    assert read_runs(tmp_path) == Runs("b", {"b": {"epochs": 3}})


def test_a_damaged_note_is_reported_as_damaged_not_as_an_earlier_version(tmp_path):
    claim(tmp_path, "a", {"epochs": 2})
    file = tmp_path / "run.json"
    for damaged in (file.read_text().replace("2", "3", 1), file.read_text().replace("sha256", "sha257"), "{"):
        file.write_text(damaged)
        with pytest.raises(storage.DamagedFile, match=r"run.json: .*; remove it, and run `herbray train` with out="):
            read_runs(tmp_path)

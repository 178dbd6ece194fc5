import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herbray.schema import RESULT
from herbray.tracking import Run, finish, log_file, log_metrics, log_results, open_run, tracking_uri
from herbray.tracking.runs import flatten_settings
from herbray.tracking.store import client, entity_key, registry_uri


def data_of(run):
    return client(run.uri).get_run(run.run_id).data


def test_the_environment_names_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert tracking_uri(tmp_path / "unused") == "http://tracking:5000"
    assert not (tmp_path / "unused").exists()


def test_without_a_tracking_uri_the_store_is_an_absolute_sqlite_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " ")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    assert tracking_uri(folder.relative_to(tmp_path)) == f"sqlite:///{folder}/mlflow.db"
    assert folder.is_dir()


def test_a_question_mark_in_the_path_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="must not contain"):
        tracking_uri(tmp_path / "what?")


def test_settings_become_dotted_parameters(uri):
    settings = {"objective": {"name": "triplet", "margin": 0.2, "ranks": ["genus", "family"]}, "resume": None, "n": {}}
    run = open_run(uri, "settings", "one", settings, {"purpose": "test"})
    assert data_of(run).params == {
        "objective.name": "triplet",
        "objective.margin": "0.2",
        "objective.ranks": '["genus", "family"]',
        "resume": "null",
        "n": "{}",
    }
    assert data_of(run).tags["purpose"] == "test"
    assert data_of(run).tags["herbray.run"] == "one"


def test_more_parameters_than_one_request_takes_are_all_kept(uri):
    many = {f"key{number}": number for number in range(230)}
    assert data_of(open_run(uri, "settings", "many", many)).params == {key: str(value) for key, value in many.items()}


def test_long_values_are_cut_but_stay_distinct(uri):
    run = open_run(uri, "settings", "long", {"a": "x" * 9_000, "b": "x" * 9_001})
    kept = data_of(run).params
    assert kept["a"].startswith("xxx")
    assert len(kept["a"]) < 6_000
    assert kept["a"] != kept["b"]


def test_an_interrupted_run_is_resumed_and_changed_settings_are_recorded(uri):
    first = open_run(uri, "resumption", "train", {"workers": 2, "seed": 1})
    log_metrics(first, {"loss": 1.0}, step=1)
    finish(first, "FAILED")
    second = open_run(uri, "resumption", "train", {"workers": 4, "seed": 1})
    assert second == first
    assert client(uri).get_run(first.run_id).info.status == "RUNNING"
    assert data_of(first).params["workers"] == "2"
    assert data_of(first).tags["changed.workers"] == "2 -> 4"
    log_metrics(second, {"loss": 0.5}, step=2)
    assert [point.value for point in client(uri).get_metric_history(first.run_id, "loss")] == [1.0, 0.5]


def test_a_finished_job_that_is_started_again_leaves_one_run(uri):
    first = open_run(uri, "repetition", "train", {"seed": 1})
    finish(first)
    assert open_run(uri, "repetition", "train", {"seed": 1}) == first
    assert not any(tag.startswith("changed.") for tag in data_of(first).tags)


def test_names_distinguish_runs_and_experiments(uri):
    runs = {open_run(uri, experiment, name, {}).run_id for experiment in ("apart", "apart too") for name in ("a", "b")}
    assert len(runs) == 4


@pytest.mark.parametrize("name", ["", " ", "it's", "a\nb"])
def test_names_that_cannot_be_searched_are_refused(uri, name):
    with pytest.raises(ValueError, match="run name"):
        open_run(uri, "names", name, {})


def test_a_deleted_experiment_is_refused_with_the_command_to_restore_it(uri):
    open_run(uri, "binned", "a", {})
    client(uri).delete_experiment(client(uri).get_experiment_by_name("binned").experiment_id)
    with pytest.raises(ValueError, match="mlflow experiments restore"):
        open_run(uri, "binned", "a", {})


def test_a_trial_is_shown_under_its_sweep(uri):
    sweep = open_run(uri, "sweep", "sweep", {})
    trial = open_run(uri, "sweep", "trial", {}, parent=sweep)
    assert data_of(trial).tags["mlflow.parentRunId"] == sweep.run_id


def test_metrics_of_another_process_appear_during_the_run(uri):
    run = open_run(uri, "elsewhere", "train", {})
    code = (
        "import sys; from herbray.tracking import Run, log_metrics\n"
        "log_metrics(Run(*sys.argv[1:]), {'train/loss': 0.25}, 7)"
    )
    address = [run.uri, run.run_id, run.experiment]
    subprocess.run([sys.executable, "-c", code, *address], check=True, timeout=120)
    assert client(uri).get_run(run.run_id).info.status == "RUNNING"
    (point,) = client(uri).get_metric_history(run.run_id, "train/loss")
    assert (point.value, point.step) == (0.25, 7)


def test_non_finite_values_are_tagged_once_and_not_written(uri):
    run = open_run(uri, "finite", "train", {})
    log_metrics(run, {"loss": float("nan"), "speed": 3.0, "norm": float("-inf")}, step=5)
    log_metrics(run, {"loss": float("inf")}, step=6)
    assert data_of(run).metrics == {"speed": 3.0}
    assert data_of(run).tags["nonfinite.loss"] == "nan at step 5"
    assert data_of(run).tags["nonfinite.norm"] == "-inf at step 5"


def results(rows):
    names = ("model", "init", "seed", "task", "split", "level", "fold", "metric", "value")
    told = [dict(zip(names, row, strict=True)) for row in rows]
    more = [{"encoder": "0a1b", "objective": "triplet", "kind": row["model"], "start_kind": "2c3d"} for row in told]
    return pa.Table.from_pylist([row | others for row, others in zip(told, more, strict=True)], RESULT)


def test_results_are_averaged_over_folds_and_attached_completely(uri, tmp_path):
    table = results(
        [
            ("triplet", "random", 0, "identify", "herbarium", "genus", 0, "accuracy", 0.5),
            ("triplet", "random", 0, "identify", "herbarium", "genus", 1, "accuracy", 0.7),
            ("triplet", "random", 0, "discriminate", "random", "Syzygium–Eugenia", -1, "auc", 0.9),
        ]
    )
    run = open_run(uri, "results", "evaluate", {})
    log_results(run, table.select(table.column_names[::-1]))
    assert data_of(run).metrics == pytest.approx(
        {"identify/herbarium/genus/accuracy": 0.6, "discriminate/random/Syzygium-Eugenia/auc": 0.9}
    )
    path = client(uri).download_artifacts(run.run_id, "results/results.parquet", str(tmp_path))
    assert pq.read_table(path).equals(table)


def test_several_models_are_not_averaged_together(uri):
    rows = [(model, "random", 0, "identify", "random", "genus", 0, "accuracy", v) for model, v in (("a", 0), ("b", 1))]
    run = open_run(uri, "results", "compare", {})
    log_results(run, results(rows))
    assert data_of(run).metrics == {
        "a-random/identify/random/genus/accuracy": 0,
        "b-random/identify/random/genus/accuracy": 1,
    }


def test_kinds_of_one_name_are_not_averaged_together(uri):
    rows = [("a", "random", 0, "identify", "random", "genus", 0, "accuracy", value) for value in (0, 1)]
    table = results(rows)
    table = table.set_column(RESULT.get_field_index("kind"), "kind", pa.array(["0a1b2c3d", "4e5f6a7b"]))
    run = open_run(uri, "results", "kinds", {})
    log_results(run, table.cast(RESULT))
    assert data_of(run).metrics == {
        "a-random-1b2c3d/identify/random/genus/accuracy": 0,
        "a-random-5f6a7b/identify/random/genus/accuracy": 1,
    }


def test_a_table_of_another_kind_is_refused(uri):
    with pytest.raises(ValueError, match="lacks the columns model"):
        log_results(Run(uri, "x", "y"), pa.table({"value": [1.0]}))


def test_a_file_is_attached_and_a_missing_one_refused(uri, tmp_path):
    run = open_run(uri, "files", "a", {})
    path = tmp_path / "report.html"
    with pytest.raises(ValueError, match="no such file"):
        log_file(run, path)
    path.write_text("<p>")
    log_file(run, path, "report")
    assert [item.path for item in client(uri).list_artifacts(run.run_id, "report")] == ["report/report.html"]


def test_files_are_stored_next_to_the_database_by_default(uri, tmp_path):
    open_run(uri, "beside", "a", {})
    open_run(uri, "told", "a", {}, artifacts=tmp_path / "elsewhere")
    location = {name: client(uri).get_experiment_by_name(name).artifact_location for name in ("beside", "told")}
    assert location["beside"].endswith("/mlartifacts")
    assert "a%20store" in location["beside"]
    assert location["told"] == (tmp_path / "elsewhere").as_uri()


def test_a_run_ends_in_a_known_way(uri):
    with pytest.raises(ValueError, match="FINISHED, FAILED or KILLED"):
        finish(Run(uri, "x", "y"), "DONE")


@pytest.mark.slow
def test_processes_may_open_a_new_store_together(tmp_path):
    code = (
        "import sys; from herbray.tracking import open_run, log_metrics\n"
        "run = open_run(sys.argv[1], 'shared', sys.argv[2], {})\n"
        "for step in range(20): log_metrics(run, {'loss': step}, step)\n"
    )
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    jobs = [subprocess.Popen([sys.executable, "-c", code, uri, str(number)]) for number in range(2)]
    assert [job.wait(timeout=200) for job in jobs] == [0, 0]
    runs = client(uri).search_runs([client(uri).get_experiment_by_name("shared").experiment_id])
    assert [run.data.metrics["loss"] for run in runs] == [19, 19]


@pytest.mark.parametrize("text", ["Syzygium–Eugenia", "a/b", "x y"])
def test_names_that_mlflow_accepts_stay_readable(text):
    assert entity_key(text) == text.replace("–", "-")


def test_names_that_mlflow_refuses_are_converted_and_stay_distinct():
    awkward = ["a?", "a!", "../a", "./a", "a//b", "/a", "a/", "", "x" * 300, "x" * 301, 'a"b', "a\nb"]
    keys = [entity_key(text) for text in awkward]
    assert len(set(keys)) == len(keys)
    assert max(map(len, keys)) <= 250


def test_every_converted_name_is_accepted(uri):
    run = open_run(uri, "awkward", "a", {})
    names = ["a?", "../a", "./a", "a//b", "/a", "a/", "", "x" * 300, 'a"b', "a\nb", "∆", "a/./b", "..", " a "]
    log_metrics(run, dict.fromkeys(names, 1.0), step=0)
    assert len(data_of(run).metrics) == len(names)


def test_flattening_leaves_the_order_and_keeps_text_bare():
    assert list(flatten_settings({"b": {"c": "text", "a": True}, "a": (1, 2)})) == [
        ("b.c", "text"),
        ("b.a", "true"),
        ("a", "[1, 2]"),
    ]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_password_in_the_address_of_the_store_is_refused_and_not_repeated(tmp_path, monkeypatch, scheme):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://ann:s3cret@tracking:5000")
    for function in (lambda: tracking_uri(tmp_path), lambda: registry_uri(None)):
        with pytest.raises(ValueError, match="MLFLOW_TRACKING_PASSWORD") as told:
            function()
        assert "s3cret" not in str(told.value)


def test_a_password_of_a_database_does_not_show_when_a_run_is_printed():
    assert "s3cret" not in repr(Run("postgresql://ann:s3cret@db/mlflow", "x", "y"))


def test_secrets_in_settings_do_not_become_parameters():
    flat = dict(flatten_settings({"init": "https://ann:s3cret@host/x", "more": ["https://host/x?token=s3cret"]}))
    assert flat == {"init": "https://***@host/x", "more": '["https://host/x?token=***"]'}

import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException

from herbray import config, schema, tables, tracking
from herbray.flow.cluster.placement import Node
from herbray.flow.sweep.capacity import DRIVER_CPUS, allocate
from herbray.flow.sweep.controller import Sweep
from herbray.flow.sweep.job import SweepFailed, Tune, tune
from herbray.flow.sweep.search_space import Choice, Int, LogUniform, Uniform
from herbray.flow.sweep.suggestions import make_suggester
from herbray.flow.sweep.trials import Trial, TrialFiles, best_trial, to_table
from herbray.flow.training.job import train
from herbray.flow.training.metrics_log import append_metrics
from herbray.flow.training.specification import Train
from herbray.tracking.store import client

JOBS = Path(__file__).parents[3] / "jobs"
SMALL = {
    "objective": {"name": "triplet"},
    "encoder": {"arch": "mobilenet_v3_small", "size": 32},
    "stream": {"batch": 16, "window": 8, "align": 2},
    "epochs": 2,
    "reports": 1,
    "workers": 1,
    "max_failures": 2,
}
SPACE = {"objective.margin": "uniform(0.05, 1)", "optimizer.lr": "loguniform(1e-4, 1e-2)"}


def spec_of(shards, out, train=None, **values):
    tree = {"train": SMALL | {"shards": shards} | (train or {}), "space": SPACE, "out": out / "sweep", "store": out}
    return config.parse(Tune, tree | {"trials": 3} | values)


# The job's settings


@pytest.mark.parametrize("job", sorted(JOBS.glob("tune-*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("scale", ["demo", "full"])
def test_the_sweeps_that_ship_are_valid_at_both_scales(job, scale):
    spec = config.load(Tune, job, [f"scale={scale}"])
    assert spec.train.encoder.size == {"demo": 32, "full": 256}[scale]
    assert spec.train.objective.name in job.stem


def test_a_scale_fills_in_only_what_is_not_set(tmp_path):
    scales = {"big": {"train.epochs": 30, "train.encoder.size": 64, "trials": 9}}
    spec = config.parse(Tune, {"space": SPACE, "scale": "big", "scales": scales, "train": {"epochs": 3}})
    assert (spec.train.epochs, spec.train.encoder.size, spec.trials) == (3, 64, 9)
    with pytest.raises(config.ConfigError, match="scale 'huge' is not one of big"):
        config.parse(Tune, {"space": SPACE, "scale": "huge", "scales": scales})
    with pytest.raises(config.ConfigError, match=r"train\.epoch: unknown key; did you mean 'epochs'"):
        config.parse(Tune, {"space": SPACE, "scale": "big", "scales": {"big": {"train.epoch": 3}}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"space": {"objective.margn": "uniform(0.1, 2)"}}, "objective.margn: unknown key; did you mean 'margin'"),
        ({"space": {"objective.margin": "uniform(-2, -1)"}}, "objective.margin: Input should be greater than 0"),
        ({"space": {"objective.group": [2, 3]}, "trials": 2}, "groups of 3"),
        ({"space": {"encoder.size": [32, 64]}, "trials": 2}, "encoder.size=64 px, but"),
        ({"train": {"workers": 0}}, r"train\.workers must be at least 1"),
        ({"searcher": "grid", "trials": None}, "needs a grid or a list of choices"),
        (
            {"searcher": "grid", "space": {"objective.group": [2, 4]}, "trials": 5},
            "2 points, but trials=5",
        ),
        ({"train": {"shards": "nowhere"}}, "run `herbray shard`"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(shards, tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        tune(spec_of(shards, tmp_path, **values))
    assert not (tmp_path / "mlflow.db").exists()


def test_without_a_validation_split_no_trial_would_have_a_score(shards, tmp_path):
    index = pq.read_table(shards / "index.parquet")
    for file in ("manifest.json", "quarantine.parquet"):
        (tmp_path / file).write_bytes((shards / file).read_bytes())
    kept = index.filter([split != "validation" for split in index["split"].to_pylist()])
    tables.write(tmp_path / "index.parquet", kept)
    with pytest.raises(
        ValueError,
        match=r"no trial would report val_knn, [^:]*: there is no validation split",
    ):
        tune(spec_of(tmp_path, tmp_path / "out"))


def test_a_validation_sample_without_pairs_gives_no_trial_a_score(write_shards, tmp_path):
    validation = [(f"v{genus}-{n}", f"Genus{genus}", f"{genus}") for genus in range(5) for n in range(2)]
    train = [(f"t{genus}-{n}", f"Genus{genus}", None) for genus in range(5) for n in range(9)]
    shards = write_shards(tmp_path / "shards", {"train": train, "validation": validation})
    with pytest.raises(
        ValueError, match="no trial would report val_knn, the score by which trials are compared: none of the 5 names"
    ):
        tune(spec_of(shards, tmp_path))
    assert not (tmp_path / "sweep").exists()


# The capacity of the cluster


@pytest.mark.parametrize(
    ("nodes", "workers", "pending", "at_once", "cpus"),
    [
        ([Node(4)], 1, 8, 2, 0.99),
        ([Node(4)], 1, 1, 1, 2.0),
        ([Node(4)], 2, 8, 1, 1.0),
        ([Node(64)], 1, 8, 8, 6.0),
        ([Node(64, 8)], 2, 8, 4, 1.0),
        ([Node(0), Node(16), Node(16)], 4, 8, 6, 1.0),
        ([Node(4), Node(4), Node(1.5)], 2, 1, 1, 3.99),
        ([Node(1)] * 6, 1, 8, 2, 0.98),  # a worker beside a driver
        ([Node(64, 1), Node(2, 7)], 1, 8, 8, 0.27),  # seven GPUs on a node of two CPUs
        ([Node(0), Node(8), Node(8, 2)], 2, 4, 1, 1.0),
    ],
)
def test_as_many_trials_run_at_once_as_the_cluster_holds(nodes, workers, pending, at_once, cpus):
    allocation = allocate(Train(workers=workers), nodes, 1.0, pending)
    assert (allocation.concurrent, allocation.cpus) == (at_once, cpus)


@pytest.mark.parametrize(
    ("nodes", "values", "concurrent", "message"),
    [
        ([Node(2)], {"workers": 4}, None, "1 trials at once, each with 4 workers of 0.25 CPUs.*need 2.01 CPUs and"),
        (
            [Node(4)],
            {"workers": 1, "cpus_per_worker": 2},
            2,
            "need 6.02 CPUs and the cluster has 4",
        ),
        ([Node(3)] * 3, {"workers": 2, "cpus_per_worker": 4}, None, "need 9.01 CPUs and the cluster has 9"),
        ([Node(3)] * 4, {"workers": 2, "cpus_per_worker": 4}, None, "2 workers of 4 CPUs .* 4 nodes hold 0"),
        ([Node(64, 4)], {"workers": 2}, 3, "need 6 GPUs and the cluster has 4"),
        # drivers: each node has the CPUs of its worker and not a hundredth more
        ([Node(4), Node(4), Node(2)], {"workers": 2, "cpus_per_worker": 4}, None, "2 workers .* 3 nodes hold 0"),
        # GPUs: four workers, four GPUs, and three of them where the CPUs are not
        (
            [Node(16, 1), Node(1.5, 3)],
            {"workers": 4, "cpus_per_worker": 1},
            None,
            "4 workers of 1 CPUs and a GPU .* 2 nodes hold 2",
        ),
        # the feed: two CPUs are left, half a CPU on each node
        ([Node(2.5)] * 4, {"workers": 4, "cpus_per_worker": 2}, None, "no node with 1 CPUs for a task"),
    ],
)
def test_missing_tensors_are_named_if_weights_do_not_fit(nodes, values, concurrent, message):
    with pytest.raises(ValueError, match=message):
        allocate(config.parse(Train, values), nodes, 1.0, 8, concurrent)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    nodes=st.lists(
        st.builds(Node, st.sampled_from([0, 1, 1.5, 2, 3, 4, 7.5, 16]), st.sampled_from([0, 0, 1, 2])),
        min_size=1,
        max_size=5,
    ),
    workers=st.integers(1, 4),
    feed=st.sampled_from([0.25, 0.5, 1.0]),
    where=st.randoms(use_true_random=False),
)
def test_trials_that_share_a_cluster_all_find_room_wherever_ray_puts_them(nodes, workers, feed, where):
    """The drivers first, then the workers, each on any node that has room; one task that feeds them must fit beside."""
    try:
        allocation = allocate(Train(workers=workers), nodes, feed, 8)
    except ValueError:
        return
    gpu = sum(node.gpus for node in nodes) >= workers
    free = [[node.cpus, node.gpus] for node in nodes]
    for cpus, gpus in [(DRIVER_CPUS, 0)] * allocation.concurrent + [
        (allocation.cpus, int(gpu))
    ] * allocation.concurrent * workers:
        place = where.choice([each for each in free if each[0] + 1e-9 >= cpus and each[1] >= gpus])
        place[0], place[1] = place[0] - cpus, place[1] - gpus
    assert max(each[0] for each in free) + 1e-9 >= feed


# The files of trials


def reported(files, number, *scores):
    folder = files.folder(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ray").mkdir(exist_ok=True)
    for epoch, score in enumerate(scores, 1):
        append_metrics(
            folder / "metrics.jsonl",
            {"images": 64.0 * epoch, "images_per_s": 32.0, "epoch": epoch, "epochs_done": epoch, "val_knn": score},
        )


def test_a_trials_figures_come_from_its_reports(tmp_path):
    files = TrialFiles(tmp_path, "best")
    reported(files, 3, 0.2, 0.6, 0.5)
    trial = files.write(Trial(3, {"objective.margin": 0.1}, "stopped", run_id="r"))
    assert (trial.epochs, trial.score, trial.seconds) == (3.0, 0.6, 6.0)
    assert files.read() == {3: trial}
    assert TrialFiles(tmp_path, "last").read()[3].score == 0.5


def test_the_best_trial_keeps_its_checkpoint_and_running_ones_do(tmp_path):
    files = TrialFiles(tmp_path, "best")
    ended = {0: "finished", 1: "stopped", 2: "failed", 3: "running", 4: "finished"}
    for number in ended:
        reported(files, number, {2: 0.9}.get(number, 0.1 * number))
    trials = [files.write(Trial(number, {}, status)) for number, status in ended.items()]
    assert best_trial(trials).number == 4
    assert best_trial(trials[:1] + trials[2:3]).number == 0
    assert best_trial([]) is None
    files.prune_checkpoints(trials, spare=1)
    assert {n for n in ended if (files.folder(n) / "ray").exists()} == {1, 3, 4}


def test_the_table_has_a_typed_column_for_each_path():
    space = {
        "a": Uniform(low=0, high=1),
        "b": Int(low=1, high=3),
        "c": Choice(values=(1, 0.5)),
        "d": Choice(values=("x", None, True)),
        "e": LogUniform(low=1, high=2),
        "f": Choice(values=(2, 4)),
    }
    values = [
        {"a": 0.5, "b": 2, "c": 1, "d": "x", "e": 1.5, "f": 2},
        {"a": 0.6, "b": 1, "c": 0.5, "d": None, "e": 1.2, "f": 4},
    ]
    found = to_table([Trial(n, v, "finished", score=None if n else 0.5) for n, v in enumerate(values)], space)
    assert found.column_names == [*schema.TRIAL.names, *"abcdef"]
    assert [str(field.type) for field in found.schema][-6:] == [
        "double",
        "int64",
        "double",
        "string",
        "double",
        "int64",
    ]
    assert found["d"].to_pylist() == ["x", "null"]
    assert found["score"].to_pylist() == [0.5, None]


# The searcher


def test_optuna_continues_from_existing_trials():
    pytest.importorskip("optuna")
    space = {
        "lr": LogUniform(low=1e-4, high=1e-2),
        "margin": Uniform(low=0.0, high=1.0),
        "group": Choice(values=(2, 4)),
    }

    def score(values):
        return 1 - abs(values["margin"] - 0.3) - 0.1 * abs(math.log10(values["lr"]) + 3)

    def search(earlier, numbers):
        suggester, found = make_suggester("optuna", space, 30, 5, earlier), []
        for number in numbers:
            values = suggester.suggest(number)
            found.append(Trial(number, values, "finished", score=score(values)))
            suggester.observe(found[-1])
        return found

    first = search([], range(20))
    assert [t.values for t in first] == [t.values for t in search([], range(20))]
    failed = [Trial(20, first[0].values, "failed", "nan"), Trial(21, first[1].values, "running")]
    later = search([*first, *failed], range(22, 30))
    assert later[0].values != first[0].values
    assert sum(t.score for t in later) / 8 > sum(t.score for t in first[:8]) / 8


def fixed_sweep(tmp_path, uri):
    """Three trials, of which the second has values that make no job."""

    def make_job(number, values):
        return config.parse(Train, {"objective": {"name": "triplet"} | dict(values)})

    parent = tracking.open_run(uri, "tests", tmp_path.name, {})

    def sweep(suggester=None):
        fixed = suggester or make_suggester("grid", {"margin": Choice(values=(0.1, -1.0, 0.3))}, 3, 0, ())
        return Sweep(TrialFiles(tmp_path / "sweep", "best"), make_job, fixed, parent)

    return parent, sweep


def runs_of(uri, parent):
    experiment = client(uri).get_experiment_by_name("tests").experiment_id
    found = client(uri).search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.run_id}'")
    return {int(run.data.tags["herbray.trial"]): run for run in found}


@pytest.mark.slow
def test_a_trial_under_way_keeps_its_values_and_run_when_the_sweep_is_given_again(tmp_path):
    uri = tracking.tracking_uri(tmp_path)
    parent, make = fixed_sweep(tmp_path, uri)
    sweep = make()
    files = sweep.files
    assert [sweep.start_trial(number) for number in range(3)] == [True, False, True]  # a margin below zero makes no job
    reported(files, 0, 0.4)
    sweep.update_runs()
    sweep.end_trial(0, "stopped")
    sweep.update_runs()
    again = make(make_suggester("random", {"margin": Uniform(low=5, high=6)}, 3, 0, ()))
    assert again.start_trial(2)
    assert again.trials[2].values == sweep.trials[2].values
    assert [t.status for t in files.read().values()] == ["stopped", "failed", "running"]
    assert "margin" in files.read()[1].cause
    again.update_runs()
    again.record_run_ids()
    runs = runs_of(uri, parent)
    assert {n: run.info.status for n, run in runs.items()} == {0: "KILLED", 2: "RUNNING"}
    assert {n: run.info.run_id for n, run in runs.items()} == {n: t.run_id for n, t in files.read().items() if n != 1}
    assert runs[0].data.metrics["score"] == 0.4
    assert runs[0].data.params["objective.margin"] == "0.1"


def test_the_store_may_be_away_while_trials_run_and_hears_of_each_step_once(tmp_path, mlflow_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    parent, make = fixed_sweep(tmp_path, mlflow_server.uri)
    sweep = make()
    with mlflow_server.out_of_order("refuse"):
        sweep.start_trial(0)
        reported(sweep.files, 0, 0.2, 0.4)
        with pytest.raises(MlflowException):
            sweep.update_runs()
        sweep.start_trial(2)
        sweep.end_trial(0, "finished")
        reported(sweep.files, 2, 0.3)
        with pytest.raises(MlflowException):
            sweep.update_runs()
    interrupted = make()  # the driver was killed before the store was back
    for _ in range(2):
        interrupted.update_runs()
    runs = runs_of(mlflow_server.uri, parent)
    assert {n: run.info.status for n, run in runs.items()} == {0: "FINISHED", 2: "RUNNING"}
    for number, steps in ((0, [64, 128]), (2, [64])):
        history = client(mlflow_server.uri).get_metric_history(runs[number].info.run_id, "val_knn")
        assert [point.step for point in history] == steps


def test_where_every_trial_failed_the_causes_are_listed(shards, tmp_path):
    spec = spec_of(shards, tmp_path, trials=2)
    for number in range(2):
        files = TrialFiles(spec.out, "best")
        files.write(Trial(number, {path: 0.5 for path in SPACE}, "failed", f"FloatingPointError: number {number}"))
    with pytest.raises(SweepFailed, match=r"(?s)none of the 2 trials has a score:.*trial 1: failed .*Error: number 1"):
        tune(spec)
    assert pq.read_table(spec.out / "trials.parquet").num_rows == 2


# A sweep


@pytest.mark.long
def test_a_sweep_writes_a_job_for_train_and_resumes_where_it_stopped(cluster, shards, tmp_path):
    space = {"optimizer.lr": "grid(0.001, 1e12)", "objective.group": [2]}
    spec = spec_of(
        shards,
        tmp_path,
        {"optimizer": {"warmup": 0, "schedule": "constant"}, "workers": None},  # chosen: one a trial
        space=space,
        searcher="grid",
        trials=None,
    )
    swept = tune(spec)
    assert [t.status for t in swept.trials] == ["finished", "failed"]
    assert "FloatingPointError: the training loss is" in swept.trials[1].cause
    assert swept.best.number == 0
    assert swept.best.score == best_trial(swept.trials).score
    assert pq.read_table(spec.out / "trials.parquet")["status"].to_pylist() == ["finished", "failed"]

    before = {file: file.stat().st_mtime_ns for file in spec.out.glob("trials/*/metrics.jsonl")}
    again = tune(spec)
    assert again.trials == swept.trials
    assert {file: file.stat().st_mtime_ns for file in spec.out.glob("trials/*/metrics.jsonl")} == before

    job = config.load(Train, swept.spec)
    assert (job.optimizer.lr, job.workers) == (0.001, None)
    trained = train(job)
    assert trained.fitted.figures["val_knn"] == swept.best.score
    assert {file: file.stat().st_mtime_ns for file in before} == before  # it trained already

    measured = spec.model_copy(update={"train": spec.train.model_copy(update={"neighbours": 1})})
    for other in (spec.model_copy(update={"seed": 1}), measured):
        with pytest.raises(ValueError, match="holds another sweep"):
            tune(other)
    (spec.out / "sweep.json").write_text("")
    with pytest.raises(ValueError, match=r"sweep\.json: damaged.*if the trials in this folder belong to this sweep"):
        tune(spec)

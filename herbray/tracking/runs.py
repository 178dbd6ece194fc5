"""Runs: settings, metrics and files of a training, written while it runs."""

import json
import logging
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from herbray import __version__, storage
from herbray.console.redact import redact
from herbray.schema import RESULT
from herbray.tracking.store import client, digest, entity_key, sqlite_file

NAME_TAG: Final = "herbray.run"
_VALUE_LIMIT: Final = 5_900  # MLflow truncates parameters at 6,000 characters and tags at 8,000
_METRICS_A_CALL: Final = 1_000  # limits of one MLflow request
_PARAMS_A_CALL: Final = 100

T = TypeVar("T")


class RunNotFound(ValueError):
    """The run is not in this store."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """Address of a run, with which any process or machine that can reach `uri` can write to the run."""

    uri: str = field(repr=False)  # the URI of a database may contain a password
    run_id: str
    experiment: str


def open_run(
    uri: str,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    artifacts: Path | None = None,
    parent: Run | None = None,
) -> Run:
    """Resume the run of this name, or create it.

    The newest run tagged `herbray.run = name` is resumed, whether finished or not, so that a job that is started twice
    leaves one run. The name should therefore contain a digest of all settings that affect the result. Parameters of
    MLflow cannot be changed; a changed value is recorded in a tag `changed.<parameter>`. Concurrent jobs need different
    names.

    Args:
        uri: the store, see `tracking_uri`.
        experiment: MLflow experiment; created if missing.
        name: key of the run within the experiment, and its display name.
        params: settings, possibly nested; flattened to dotted names, with lists as JSON.
        tags: additional tags.
        artifacts: folder for files, used when the experiment is created; None: next to an SQLite file, or the choice of
            the server.
        parent: the run under which the MLflow UI shows this run, e.g. the sweep of a trial.

    Raises:
        ValueError: the name is empty or contains a quotation mark; the experiment is deleted in MLflow; or a database
            other than SQLite is given without a folder for artifacts.
    """
    if not name.strip() or set(name) & set("'\"`\n"):
        raise ValueError(f"run name {name!r}: must not be empty or contain quotation marks or line breaks")
    store = client(uri)
    experiment_id = _open_experiment(uri, experiment, artifacts)
    flat = {entity_key(key): _shorten(value) for key, value in flatten_settings(params)}
    found = store.search_runs(
        [experiment_id], f"tags.`{NAME_TAG}` = '{name}'", max_results=1, order_by=["attributes.start_time DESC"]
    )
    former = found[0] if found else None
    labels = {NAME_TAG: name, "herbray.version": __version__, **(tags or {})}
    if parent is not None:
        labels["mlflow.parentRunId"] = parent.run_id
    run_id = former.info.run_id if former else store.create_run(experiment_id, run_name=name).info.run_id
    if former is not None:
        store.update_run(run_id, status="RUNNING")
        _log.info("resuming run %s (%s)", name, run_id)
    _write_settings(uri, run_id, flat, former.data.params if former else {}, labels)
    return Run(uri, run_id, experiment)


def resume_run(uri: str, run_id: str) -> Run:
    """Resume the run with this id.

    Raises:
        RunNotFound: the run is not in the store, or is deleted.
    """
    from mlflow.exceptions import MlflowException

    store = client(uri)
    try:
        found = store.get_run(run_id).info
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RunNotFound(f"this tracking store has no run {run_id}: is it the store that the training used?") from None
    if found.lifecycle_stage != "active":
        raise RunNotFound(f"run {run_id} is deleted in MLflow: restore it with `mlflow runs restore --run-id {run_id}`")
    store.update_run(run_id, status="RUNNING")
    return Run(uri, run_id, store.get_experiment(found.experiment_id).name)


def log_metrics(run: Run, metrics: Mapping[str, float], step: int, at: float | None = None) -> None:
    """Write metrics immediately, so that the MLflow UI shows them during the run. Can be called from any process.

    MLflow stores infinity as 1.8e308, which ruins the scale of a curve. Non-finite values are therefore not written to
    the curve; the first of each metric is recorded in a tag `nonfinite.<metric>`, such as "nan at step 120".

    Args:
        run: a run from `open_run`, possibly of another process.
        metrics: values by name; a slash groups curves, as in `train/loss`.
        step: position on the horizontal axis, the same for all metrics.
        at: time in seconds since 1970; None: now.
    """
    from mlflow.entities import Metric

    now = int((time.time() if at is None else at) * 1_000)
    values = {entity_key(name): float(value) for name, value in metrics.items()}
    finite = [Metric(name, value, now, step) for name, value in values.items() if math.isfinite(value)]
    for some in _slices(finite, _METRICS_A_CALL):
        client(run.uri).log_batch(run.run_id, metrics=some)
    if len(finite) < len(values):
        lost = {name: value for name, value in values.items() if not math.isfinite(value)}
        known = client(run.uri).get_run(run.run_id).data.tags
        for name, value in lost.items():
            key = entity_key(f"nonfinite.{name}")
            if key not in known:
                _log.warning("%s is %s at step %d", name, value, step)
                client(run.uri).set_tag(run.run_id, key, f"{value} at step {step}")


def log_run_metrics(run: Run, figures: Mapping[str, float]) -> None:
    """Write metrics of the whole run, at step 0; values that the run already has are not written again."""
    known = client(run.uri).get_run(run.run_id).data.metrics
    log_metrics(run, {name: value for name, value in figures.items() if known.get(entity_key(name)) != value}, step=0)


def log_results(run: Run, table: pa.Table) -> None:
    """Attach a results table: the rows as `results/results.parquet`, and the mean of each score as a metric.

    The name of a metric is `task/split/level/metric`, with the prefix `model-init/` if the table contains several kinds
    of encoder, or `model-init-kind/` if that is ambiguous. Means are over seeds and folds; the Parquet file has every
    row. Values that the run already has are not written again, so a repeated evaluation leaves one point.

    Args:
        run: the run that was evaluated.
        table: results in long form, see `schema.RESULT`; columns in any order.

    Raises:
        ValueError: a column is missing.
    """
    if missing := [name for name in RESULT.names if name not in table.column_names]:
        raise ValueError(f"the results table lacks the columns {', '.join(missing)}; see herbray.schema.RESULT")
    table = table.select(RESULT.names)
    keys = ["task", "split", "level", "metric"]
    means = table.group_by(["kind", *keys]).aggregate([("value", "mean")]).to_pylist()
    before = _prefixes(table)
    log_run_metrics(
        run, {"/".join([*before[row["kind"]], *(row[k] for k in keys)]): row["value_mean"] for row in means}
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.parquet"
        pq.write_table(table, path, compression="zstd")
        log_file(run, path, "results")


def _prefixes(results: pa.Table) -> dict[str, list[str]]:
    """Prefix of the metrics of each kind of encoder; empty if there is only one kind."""
    rows = results.select(["kind", "model", "init"]).group_by("kind").aggregate([("model", "min"), ("init", "min")])
    names = {row["kind"]: f"{row['model_min']}-{row['init_min']}" for row in rows.to_pylist()}
    if len(names) < 2:
        return {kind: [] for kind in names}
    many = Counter(names.values())
    return {kind: [name if many[name] == 1 else f"{name}-{kind[-6:]}"] for kind, name in names.items()}


def log_file(run: Run, path: Path, folder: str | None = None) -> None:
    """Attach a file to the run, in `folder` of its artifacts; a file of the same name is replaced.

    Raises:
        ValueError: the file does not exist.
    """
    if not storage.is_file(path):
        raise ValueError(f"{path}: no such file to attach to run {run.run_id}")
    client(run.uri).log_artifact(run.run_id, str(storage.fetch(path)), folder)


def finish(run: Run, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
    """Close the run; `open_run` can resume it.

    Raises:
        ValueError: the status is not one of these.
    """
    if status not in ("FINISHED", "FAILED", "KILLED"):
        raise ValueError(f"status {status!r}: use FINISHED, FAILED or KILLED")
    client(run.uri).set_terminated(run.run_id, status)


def _open_experiment(uri: str, name: str, artifacts: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    store = client(uri)
    known = store.get_experiment_by_name(name)
    if known is None:
        try:
            return store.create_experiment(name, artifact_location=_artifact_location(uri, artifacts))
        except MlflowException:  # another process created it first, or the store has another reason
            known = store.get_experiment_by_name(name)
            if known is None:
                raise
    if known.lifecycle_stage != "active":
        raise ValueError(
            f"MLflow experiment {name!r} is deleted: choose another name, or restore it with "
            f"`mlflow experiments restore --experiment-id {known.experiment_id}`"
        )
    return str(known.experiment_id)


def _artifact_location(uri: str, artifacts: Path | None) -> str | None:
    if artifacts is None and (database := sqlite_file(uri)) is not None:
        artifacts = database.parent / "mlartifacts"
    if artifacts is not None:
        return artifacts.absolute().as_uri()
    if uri.startswith(("http://", "https://", "databricks", "uc:")):
        return None
    raise ValueError(f"tracking store {uri.partition(':')[0]!r} stores no files: set a folder for artifacts")


def _write_settings(
    uri: str, run_id: str, params: Mapping[str, str], former: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    from mlflow.entities import Param, RunTag

    new = [Param(key, value) for key, value in params.items() if key not in former]
    changed = {
        entity_key(f"changed.{key}"): f"{_shorten(former[key], 3_000)} -> {_shorten(value, 3_000)}"
        for key, value in params.items()
        if key in former and former[key] != value
    }
    labels = [RunTag(entity_key(key), _shorten(str(value))) for key, value in {**tags, **changed}.items()]
    store = client(uri)
    for some in _slices(new, _PARAMS_A_CALL):
        store.log_batch(run_id, params=some)
    for some_tags in _slices(labels, _PARAMS_A_CALL):
        store.log_batch(run_id, tags=some_tags)


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def flatten_settings(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted path, as text."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:  # noqa: ANN401  (settings are of any kind)
    if isinstance(value, str | Path):
        return redact(str(value))
    plain = list(value) if isinstance(value, Sequence) else value
    return redact(json.dumps(plain, default=str, ensure_ascii=False))


def _shorten(text: str, limit: int = _VALUE_LIMIT) -> str:
    """Shorten a text to about `limit` characters; a digest at its end keeps different texts different."""
    return text if len(text) <= limit else f"{text[:limit]}… sha256:{digest(text)[:16]}"

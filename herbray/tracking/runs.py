"""Runs: what was trained, with which settings, and how it went, written while it goes."""

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

from herbray import __version__
from herbray.console.redact import redact
from herbray.schema import RESULT
from herbray.tracking.store import client, digest, entity_key, sqlite_file

NAME_TAG: Final = "herbray.run"
_VALUE_LIMIT: Final = 5_900  # MLflow cuts a parameter at 6,000 characters and a tag at 8,000
_METRICS_A_CALL: Final = 1_000  # MLflow's limits for one request
_PARAMS_A_CALL: Final = 100

T = TypeVar("T")


class RunNotFound(ValueError):
    """No such run in this store."""


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run's address: enough to write to it from any process or machine that reaches `uri`."""

    uri: str = field(repr=False)  # a database's may hold a password
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
    """Go on with the run of this name, or begin one.

    The newest run tagged `herbray.run = name` is taken up again, finished or not: a job that is started twice leaves
    one run. So the name should hold a digest of all settings that bear on the outcome. MLflow's parameters cannot be
    changed; one that differs now is kept in a tag `changed.<parameter>`. Two jobs at the same time need two names.

    Args:
        uri: the store, see `tracking_uri`.
        experiment: MLflow experiment; made if missing.
        name: the key of this run within the experiment, and its display name.
        params: settings, nested as they come; flattened to dotted names, lists as JSON.
        tags: further tags.
        artifacts: folder for files, used when the experiment is made; None puts them beside an SQLite file, or
            leaves the choice to a server.
        parent: the run under which the MLflow page shows this one, as a sweep shows its trials.

    Raises:
        ValueError: the name is empty or holds a quotation mark; the experiment is in MLflow's bin; or a database other
            than SQLite is given without a folder for artifacts.
    """
    if not name.strip() or set(name) & set("'\"`\n"):
        raise ValueError(f"run name {name!r}: must not be empty or hold quotation marks or line breaks")
    store = client(uri)
    experiment_id = _experiment(uri, experiment, artifacts)
    flat = {entity_key(key): _bounded(value) for key, value in _flatten(params)}
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
        _log.info("going on with run %s (%s)", name, run_id)
    _write_settings(uri, run_id, flat, former.data.params if former else {}, labels)
    return Run(uri, run_id, experiment)


def take_up(uri: str, run_id: str) -> Run:
    """Go on with the run of this id.

    Raises:
        RunNotFound: the store does not hold it, or holds it in its bin.
    """
    from mlflow.exceptions import MlflowException

    store = client(uri)
    try:
        found = store.get_run(run_id).info
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RunNotFound(f"this tracking store holds no run {run_id}: is it the one that the training used?") from None
    if found.lifecycle_stage != "active":
        raise RunNotFound(f"run {run_id} is in MLflow's bin: `mlflow runs restore --run-id {run_id}` brings it back")
    store.update_run(run_id, status="RUNNING")
    return Run(uri, run_id, store.get_experiment(found.experiment_id).name)


def log_metrics(run: Run, metrics: Mapping[str, float], step: int, at: float | None = None) -> None:
    """Write metrics now: they show on the MLflow page while the run goes on. Safe from any process, by run id.

    MLflow stores infinity as 1.8e308, which ruins a curve's scale. So a number that is not finite is no point of the
    curve: its first occurrence becomes a tag `nonfinite.<metric>`, such as "nan at step 120".

    Args:
        run: from `open_run`, perhaps in another process.
        metrics: values by name; a slash groups curves, as in `train/loss`.
        step: the position on the horizontal axis, the same for all.
        at: seconds since 1970; None: now.
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


def log_figures(run: Run, figures: Mapping[str, float]) -> None:
    """Write figures of the run as a whole, at step 0; those that it bears already are not written again."""
    known = client(run.uri).get_run(run.run_id).data.metrics
    log_metrics(run, {name: value for name, value in figures.items() if known.get(entity_key(name)) != value}, step=0)


def log_results(run: Run, table: pa.Table) -> None:
    """Attach a results table: the rows as `results/results.parquet`, the mean over folds of each score as a metric.

    A metric is named `task/split/level/metric`, after `model-init/` where the table holds several kinds of encoder, and
    `model-init-kind/` where those would be alike. Seeds and folds are averaged; the parquet keeps each. A figure that
    the run bears already is not written again: an evaluation that is repeated leaves one point.

    Args:
        run: the run that was evaluated.
        table: long form, see `schema.RESULT`; columns in any order.

    Raises:
        ValueError: a column is missing.
    """
    if missing := [name for name in RESULT.names if name not in table.column_names]:
        raise ValueError(f"results table lacks the columns {', '.join(missing)}; see herbray.schema.RESULT")
    table = table.select(RESULT.names)
    keys = ["task", "split", "level", "metric"]
    means = table.group_by(["kind", *keys]).aggregate([("value", "mean")]).to_pylist()
    before = _prefixes(table)
    log_figures(run, {"/".join([*before[row["kind"]], *(row[k] for k in keys)]): row["value_mean"] for row in means})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.parquet"
        pq.write_table(table, path, compression="zstd")
        log_file(run, path, "results")


def _prefixes(results: pa.Table) -> dict[str, list[str]]:
    """What metrics of each kind of encoder are named after; nothing where there is one."""
    rows = results.select(["kind", "model", "init"]).group_by("kind").aggregate([("model", "min"), ("init", "min")])
    names = {row["kind"]: f"{row['model_min']}-{row['init_min']}" for row in rows.to_pylist()}
    if len(names) < 2:
        return {kind: [] for kind in names}
    many = Counter(names.values())
    return {kind: [name if many[name] == 1 else f"{name}-{kind[-6:]}"] for kind, name in names.items()}


def log_file(run: Run, path: Path, folder: str | None = None) -> None:
    """Attach a file to the run, under `folder` of its artifacts; a file of that name is replaced.

    Raises:
        ValueError: there is no such file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file to attach to run {run.run_id}")
    client(run.uri).log_artifact(run.run_id, str(path), folder)


def finish(run: Run, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
    """Close the run; `open_run` takes up again one that is not FINISHED.

    Raises:
        ValueError: another status.
    """
    if status not in ("FINISHED", "FAILED", "KILLED"):
        raise ValueError(f"status {status!r}: a run ends as FINISHED, FAILED or KILLED")
    client(run.uri).set_terminated(run.run_id, status)


def _experiment(uri: str, name: str, artifacts: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    store = client(uri)
    known = store.get_experiment_by_name(name)
    if known is None:
        try:
            return store.create_experiment(name, artifact_location=_artifact_location(uri, artifacts))
        except MlflowException:  # another process was quicker, or the store has a reason of its own
            known = store.get_experiment_by_name(name)
            if known is None:
                raise
    if known.lifecycle_stage != "active":
        raise ValueError(
            f"MLflow experiment {name!r} is in the bin: choose another name, or bring it back with "
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
    raise ValueError(f"tracking store {uri.partition(':')[0]!r} keeps no files: name a folder for artifacts")


def _write_settings(
    uri: str, run_id: str, params: Mapping[str, str], former: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    from mlflow.entities import Param, RunTag

    new = [Param(key, value) for key, value in params.items() if key not in former]
    changed = {
        entity_key(f"changed.{key}"): f"{_bounded(former[key], 3_000)} -> {_bounded(value, 3_000)}"
        for key, value in params.items()
        if key in former and former[key] != value
    }
    labels = [RunTag(entity_key(key), _bounded(str(value))) for key, value in {**tags, **changed}.items()]
    store = client(uri)
    for some in _slices(new, _PARAMS_A_CALL):
        store.log_batch(run_id, params=some)
    for some_tags in _slices(labels, _PARAMS_A_CALL):
        store.log_batch(run_id, tags=some_tags)


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:  # noqa: ANN401  (settings are of any kind)
    if isinstance(value, str | Path):
        return redact(str(value))
    plain = list(value) if isinstance(value, Sequence) else value
    return redact(json.dumps(plain, default=str, ensure_ascii=False))


def _bounded(text: str, limit: int = _VALUE_LIMIT) -> str:
    """At most about `limit` characters; a text that is cut ends with a digest, so that two of them still differ."""
    return text if len(text) <= limit else f"{text[:limit]}… sha256:{digest(text)[:16]}"

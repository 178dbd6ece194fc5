"""Runs and models in MLflow: the one place that imports it, and only when a function is called (it takes seconds)."""

from herbray.tracking.pull import load_encoder, pull
from herbray.tracking.registry import ModelNotFound, promote_if_better, register, resolve, run_of, set_alias
from herbray.tracking.runs import Run, finish, log_file, log_metrics, log_results, open_run
from herbray.tracking.store import tracking_uri

__all__ = [
    "ModelNotFound",
    "Run",
    "finish",
    "load_encoder",
    "log_file",
    "log_metrics",
    "log_results",
    "open_run",
    "promote_if_better",
    "pull",
    "register",
    "resolve",
    "run_of",
    "set_alias",
    "tracking_uri",
]

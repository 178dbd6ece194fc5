"""Runs and models in MLflow. Only this package imports mlflow, and only inside functions, because it takes seconds."""

from herbray.tracking.cards import read_card, write_card
from herbray.tracking.champion.lock import PromotionLocked, promotion_lock
from herbray.tracking.champion.looks import record_look
from herbray.tracking.champion.promotion import Decision, PromotionOvertaken, Standing, apply_decision, read_standing
from herbray.tracking.delivery import (
    StoreRefused,
    StoreUnreachable,
    deliver_in_background,
    mark_unfinished,
    wrap_store_errors,
)
from herbray.tracking.history import History, Point
from herbray.tracking.pull import load_encoder, pull
from herbray.tracking.registry import (
    WEIGHTS_TAG,
    ModelNotFound,
    get_version,
    pin_version,
    register,
    resolve,
    set_alias,
    training_run,
)
from herbray.tracking.runs import (
    Run,
    RunNotFound,
    finish,
    log_file,
    log_metrics,
    log_results,
    log_run_metrics,
    open_run,
    resume_run,
)
from herbray.tracking.sections import read_section, replace_section
from herbray.tracking.store import registry_uri, tracking_uri

__all__ = [
    "WEIGHTS_TAG",
    "Decision",
    "History",
    "ModelNotFound",
    "Point",
    "PromotionLocked",
    "PromotionOvertaken",
    "Run",
    "RunNotFound",
    "Standing",
    "StoreRefused",
    "StoreUnreachable",
    "apply_decision",
    "deliver_in_background",
    "finish",
    "get_version",
    "load_encoder",
    "log_file",
    "log_metrics",
    "log_results",
    "log_run_metrics",
    "mark_unfinished",
    "open_run",
    "pin_version",
    "promotion_lock",
    "pull",
    "read_card",
    "read_section",
    "read_standing",
    "record_look",
    "register",
    "registry_uri",
    "replace_section",
    "resolve",
    "resume_run",
    "set_alias",
    "tracking_uri",
    "training_run",
    "wrap_store_errors",
    "write_card",
]

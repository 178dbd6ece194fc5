"""Runs and models in MLflow: the one place that imports it, and only when a function is called (it takes seconds)."""

from herbray.tracking.cards import read_card, write_card
from herbray.tracking.champion.exclusive import PromotionHeld, exclusive
from herbray.tracking.champion.looks import take_look
from herbray.tracking.champion.promotion import Decision, PromotionOvertaken, Standing, decide, standing
from herbray.tracking.courier import StoreAway, delivered, mark_failed, told
from herbray.tracking.history import History, Point
from herbray.tracking.pull import load_encoder, pull
from herbray.tracking.registry import (
    WEIGHTS_TAG,
    ModelNotFound,
    get_version,
    pinned,
    register,
    resolve,
    run_of,
    set_alias,
)
from herbray.tracking.runs import (
    Run,
    RunNotFound,
    finish,
    log_figures,
    log_file,
    log_metrics,
    log_results,
    open_run,
    take_up,
)
from herbray.tracking.sections import section, with_section
from herbray.tracking.store import registry_uri, tracking_uri

__all__ = [
    "WEIGHTS_TAG",
    "Decision",
    "History",
    "ModelNotFound",
    "Point",
    "PromotionHeld",
    "PromotionOvertaken",
    "Run",
    "RunNotFound",
    "Standing",
    "StoreAway",
    "decide",
    "delivered",
    "exclusive",
    "finish",
    "get_version",
    "load_encoder",
    "log_figures",
    "log_file",
    "log_metrics",
    "log_results",
    "mark_failed",
    "open_run",
    "pinned",
    "pull",
    "read_card",
    "register",
    "registry_uri",
    "resolve",
    "run_of",
    "section",
    "set_alias",
    "standing",
    "take_look",
    "take_up",
    "told",
    "tracking_uri",
    "with_section",
    "write_card",
]

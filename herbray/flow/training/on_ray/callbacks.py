"""Callbacks for reports of Ray workers: the metrics file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray.train import UserCallback

from herbray.flow.training.metrics_log import MetricsLog


class MetricsCallback(UserCallback):
    """Adds every report to the metrics file, and passes on those that are new."""

    def __init__(self, path: Path, listeners: Sequence[UserCallback] = ()) -> None:
        """`path` must be reachable from the controller and the driver."""
        self.curve, self.listeners = MetricsLog(path), listeners

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any) -> None:  # noqa: ANN401
        """Rank 0's figures are those of all ranks."""
        if self.curve.add(metrics[0]):
            for listener in self.listeners:
                listener.after_report(run_context, metrics, checkpoint)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:  # noqa: ANN401
        """Pass on every exception."""
        for listener in self.listeners:
            listener.after_exception(run_context, worker_exceptions)

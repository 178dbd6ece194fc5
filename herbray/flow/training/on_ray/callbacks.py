"""Callbacks for reports of Ray workers: the metrics file and the progress bar."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.train import UserCallback

from herbray.flow.cluster import connection
from herbray.flow.training.metrics_log import MetricsLog, read_metrics
from herbray.flow.training.specification import Train


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


@contextmanager
def show_progress(metrics: Path, spec: Train) -> Iterator[None]:
    """Show a bar of epochs with the last figures while the workers run elsewhere."""
    over = threading.Event()
    with connection.progress() as bar:
        begun = max((row["epoch"] for row in read_metrics(metrics)), default=0.0)
        job = bar.add_task(spec.objective.name, total=spec.epochs, begun=begun, unit="epoch")
        bar.update(job, completed=begun)

        def follow() -> None:
            while not over.wait(1.0):
                rows = read_metrics(metrics)
                if rows:
                    bar.update(job, completed=rows[-1]["epoch"], description=_describe(spec, rows))

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _describe(spec: Train, rows: Sequence[Mapping[str, float]]) -> str:
    scores = [row["val_knn"] for row in rows if "val_knn" in row]
    score = f", k-NN {scores[-1]:.3f}" if scores else ""
    return f"{spec.objective.name}: loss {rows[-1]['train_loss']:.3f}{score}"

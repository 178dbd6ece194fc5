"""What a run holds already."""

from herbray.tracking.runs import Run
from herbray.tracking.store import client


def logged_steps(run: Run, metric: str) -> set[int]:
    """Steps at which a metric was logged."""
    return {point.step for point in client(run.uri).get_metric_history(run.run_id, metric)}

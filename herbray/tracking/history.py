"""A run's curves: figures of steps, each metric of each step written once, whoever writes it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from herbray.tracking.runs import Run, log_metrics
from herbray.tracking.store import client, entity_key


@dataclass(frozen=True)
class Point:
    """Figures of one step.

    Attributes:
        step: on the horizontal axis.
        time: when they were reported, in seconds since 1970; None: when they are sent.
        metrics: by name.
    """

    step: int
    time: float | None
    metrics: Mapping[str, float]


class History:
    """What a run's curves hold.

    The store is asked once a metric. So a process that goes on with a run, for one that was killed at any moment,
    neither repeats a step nor leaves one out; nor does a request that was carried out but whose answer was lost.
    """

    def __init__(self, run: Run) -> None:
        """Ask nothing yet: the store may be away."""
        self.run = run
        self._steps: dict[str, set[int]] | None = None

    def send(self, points: Iterable[Point]) -> None:
        """Write the points that the run lacks, in their order.

        Raises:
            Exception: the store's; call again with the same points.
        """
        try:
            for point in points:
                self._send(point)
        except BaseException:
            self._steps = None  # whether the last request was carried out, only the store knows
            raise

    def _send(self, point: Point) -> None:
        lacking = {name: value for name, value in point.metrics.items() if point.step not in self._of(name)}
        if lacking:
            log_metrics(self.run, lacking, point.step, point.time)
            for name in lacking:
                self._of(name).add(point.step)

    def _of(self, name: str) -> set[int]:
        if self._steps is None:
            known = client(self.run.uri).get_run(self.run.run_id).data.metrics
            self._steps = {key: self._asked(key) for key in known}
        return self._steps.setdefault(entity_key(name), set())

    def _asked(self, key: str) -> set[int]:
        return {point.step for point in client(self.run.uri).get_metric_history(self.run.run_id, key)}

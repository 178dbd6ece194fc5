"""Curves of a run: each metric of each step is written once, even if several processes write it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from herbray.tracking.runs import Run, log_metrics
from herbray.tracking.store import client, entity_key


@dataclass(frozen=True)
class Point:
    """Metrics of one step.

    Attributes:
        step: position on the horizontal axis.
        time: time of the report, in seconds since 1970; None: time of sending.
        metrics: values by name.
    """

    step: int
    time: float | None
    metrics: Mapping[str, float]


class History:
    """Sends the points that the curves of a run lack.

    The known steps of each metric are read from the store once. A process that resumes the run of a killed process
    therefore neither repeats nor omits a step; the same holds after a request whose answer was lost.
    """

    def __init__(self, run: Run) -> None:
        """Make no request yet: the server may be unreachable."""
        self.run = run
        self._steps: dict[str, set[int]] | None = None

    def send(self, points: Iterable[Point]) -> None:
        """Write the points that the run lacks, in order.

        Raises:
            Exception: an error of the store; call again with the same points.
        """
        try:
            for point in points:
                self._send(point)
        except BaseException:
            self._steps = None  # only the store knows whether the last request was carried out
            raise

    def _send(self, point: Point) -> None:
        lacking = {name: value for name, value in point.metrics.items() if point.step not in self._known_steps(name)}
        if lacking:
            log_metrics(self.run, lacking, point.step, point.time)
            for name in lacking:
                self._known_steps(name).add(point.step)

    def _known_steps(self, name: str) -> set[int]:
        if self._steps is None:
            known = client(self.run.uri).get_run(self.run.run_id).data.metrics
            self._steps = {key: self._read_steps(key) for key in known}
        return self._steps.setdefault(entity_key(name), set())

    def _read_steps(self, key: str) -> set[int]:
        return {point.step for point in client(self.run.uri).get_metric_history(self.run.run_id, key)}

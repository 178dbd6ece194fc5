"""Progress of trainings, followed from their metrics files: epochs, the last loss and score, rate and time left."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.progress import Progress, TaskID

from herbray import storage
from herbray.console.progress import progress
from herbray.flow.training.metrics_log import read_metrics
from herbray.flow.training.runs.folder import METRICS
from herbray.flow.training.specification import Train


@contextmanager
def show_progress(trainings: Sequence[Train]) -> Iterator[Progress]:
    """Show one bar of epochs for each training while they run elsewhere, or in this process.

    A training is named by its objective, or by its run folder if there are several. Its clock starts with its run
    folder: until then it waits for a free CPU. Yields the bars, to which the caller may add others.
    """
    over = threading.Event()
    with progress() as bar:
        lines = [_Line(bar, job, job.objective.name if len(trainings) == 1 else job.out.name) for job in trainings]

        def follow() -> None:
            while not over.wait(max((_interval(job) for job in trainings), default=None)):
                for line in lines:
                    line.update()

        thread = threading.Thread(target=follow, name="herbray-trainings", daemon=True)
        thread.start()
        try:
            yield bar
        finally:
            over.set()
            thread.join()
            for line in lines:
                line.update()


def _interval(job: Train) -> float:
    """Seconds between looks at a run folder; each look at a bucket is a request."""
    return 10.0 if storage.is_remote(job.out) else 1.0


class _Line:
    """The bar of one training."""

    def __init__(self, bar: Progress, job: Train, name: str) -> None:
        self.bar, self.name, self.job = bar, name, job
        self.task: TaskID | None = None

    def update(self) -> None:
        """Show the newest row of the metrics; begin with those of an earlier job, which the rate does not count."""
        if not storage.is_folder(self.job.out):
            return
        rows = read_metrics(self.job.out / METRICS)
        epoch = rows[-1]["epoch"] if rows else 0.0
        if self.task is None:
            self.task = self.bar.add_task(self.name, total=self.job.epochs, begun=epoch, unit="epoch")
        if rows:
            self.bar.update(self.task, completed=epoch, description=_describe(self.name, rows))


def _describe(name: str, rows: Sequence[Mapping[str, float]]) -> str:
    scores = [row["val_knn"] for row in rows if "val_knn" in row]
    score = f", k-NN {scores[-1]:.3f}" if scores else ""
    return f"{name}: loss {rows[-1]['train_loss']:.3f}{score}"

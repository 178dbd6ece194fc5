"""Training runs that pause between laps, so that contenders can take turns although each run starts only once."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import psutil

from herbray import storage
from herbray.benchmark.harness.race import Measured, cpu_seconds

T = TypeVar("T")

_POLL_S: Final = 0.005
_OPEN: Final = "open"
_RAY: Final = {"raylet", "gcs_server"}  # its workers are the raylet's children


@dataclass(frozen=True)
class Gate:
    """A worker's side of a gated run: lets `steps` batches pass in each lap.

    Worker and driver exchange files in `folder`, because the workers are started by Ray.
    """

    folder: Path
    rank: int
    steps: int

    def through(self, batches: Iterable[T]) -> Iterator[T]:
        """The batches, with a pause after every `steps` batches until the driver starts the next lap."""
        for number, batch in enumerate(batches):
            if number % self.steps == 0:
                self._meet(number // self.steps)
            yield batch
        self._tell("end")

    def _meet(self, laps: int) -> None:
        self._tell(str(laps))
        while not (self.folder / f"go-{laps + 1}").exists() and not (self.folder / _OPEN).exists():
            time.sleep(_POLL_S)

    def _tell(self, lap: str) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        path = self.folder / f"done-{lap}-{self.rank}"
        storage.write_text(path, str(time.process_time()))


class GatedRun:
    """The driver's side of a gated run.

    Args:
        folder: folder for the files that driver and workers exchange; must not exist.
        start: runs the training; returns when it has ended. Called in a thread.
        ranks: number of workers.
        images: images per lap, of all workers together.
        whole: count the CPU time of all descendants of this process, Ray's included, instead of the workers' only.
    """

    def __init__(self, folder: Path, start: Callable[[], None], ranks: int, images: int, whole: bool) -> None:
        """Do not start the run yet."""
        folder.mkdir(parents=True)
        self.folder, self.start, self.ranks, self.images, self.whole = folder, start, ranks, images, whole
        self.laps = 0
        self.thread: threading.Thread | None = None
        self.error: BaseException | None = None
        self.startup: Measured | None = None

    def lap(self) -> Measured:
        """Let the run continue for one lap. The first call starts the run and waits until every worker has paused."""
        if self.thread is None:
            self.startup = self._measured(self._begin, 1, whole=True)
        self._freeze(False)
        try:
            return self._measured(self._go, self.images, self.whole)
        finally:
            self._freeze(True)

    def close(self) -> None:
        """Let all workers continue and wait for the end of the run."""
        self._freeze(False)
        (self.folder / _OPEN).touch()
        if self.thread is not None:
            self.thread.join()

    def _freeze(self, frozen: bool) -> None:
        """Suspend a local Ray between laps: even idle schedulers use CPU time, which slows the other contenders."""
        if not self.whole:
            return
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if _RAY & {parent.name() for parent in (process, *process.parents())}:
                    process.suspend() if frozen else process.resume()

    def _begin(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self._wait()

    def _run(self) -> None:
        try:
            self.start()
        except BaseException as error:
            self.error = error

    def _go(self) -> None:
        self.laps += 1
        (self.folder / f"go-{self.laps}").touch()
        self._wait()

    def _measured(self, act: Callable[[], None], units: int, whole: bool) -> Measured:
        cpu, wall = self._cpu(whole), time.perf_counter()
        act()
        wall = time.perf_counter() - wall
        return Measured(units, wall, max(1e-9, self._cpu(whole) - cpu))

    def _wait(self) -> None:
        while not all(path.exists() for path in self._marks()):
            if self.error is not None:
                raise RuntimeError("the measured run failed; its error is above") from self.error
            if self.thread is None or not self.thread.is_alive():
                raise RuntimeError("the measured run ended early: there are too few images for this number of laps")
            time.sleep(_POLL_S)

    def _marks(self) -> list[Path]:
        return [self.folder / f"done-{self.laps}-{rank}" for rank in range(self.ranks)]

    def _cpu(self, whole: bool) -> float:
        return cpu_seconds() if whole else sum(float(path.read_text(encoding="utf-8")) for path in self._marks())


def set_threads(count: int) -> None:
    """Set the number of compute threads of this process, which must have just started."""
    import torch

    os.environ["OMP_NUM_THREADS"] = str(count)
    torch.set_num_threads(count)

"""A run's checkpoints on disk: which there are, which can be trusted, which stay; their writing beside the steps."""

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from herbray.flow.training.specification import Checkpoints, Train
from herbray.model.sealed import Damaged, opened, seal

NAME: Final = re.compile(r"\d{9}")
"""Of a checkpoint's folder: windows consumed."""

_ASIDE: Final = "passed-over-"

_PAUSES_S: Final = (0.5, 1.0, 2.0)
"""Between tries to read what a storage refuses."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint.

    Attributes:
        folder: that holds it.
        consumed: windows that all ranks had trained on.
        figures: of an epoch's end, with `val_loss` where there is a validation split, and `val_knn` where it can be
            measured; empty on the way there.
    """

    folder: Path
    consumed: int
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointDirectory:
    """The checkpoints of one run: folders in `root`, on storage that every worker sees."""

    root: Path
    spec: Checkpoints
    keep: Literal["best", "last"] = "best"

    def newest(self) -> Checkpoint | None:
        """The newest that is whole; a warning tells of those that are not, another one if none is.

        Raises:
            OSError: the storage gives none, and does not give some that are there: a run must not begin anew for that.
        """
        folders, found, refused = self._folders(), None, None
        for folder in reversed(folders):
            try:
                found = _patiently(folder)
            except OSError as error:
                refused = error
                _log.warning(
                    "%s: cannot be read now (%s); it is passed over for the one before", folder, error.strerror
                )
            if found:
                break
        if found is None and refused is not None:
            raise refused
        if folders and found is None:
            _log.warning(
                "%s: none of %d checkpoints is whole: training starts from the beginning", self.root, len(folders)
            )
        return found

    def best(self) -> Checkpoint | None:
        """What the run is for: by `keep` the best, the later of equals, or the last; whole, or the next best is.

        The best has the highest `val_knn`, or where no checkpoint has one the lowest `val_loss`; without either it is
        the last.
        """
        return _whole(kept.folder for kept in reversed(self._ranked()))

    def save(self, consumed: int, fill: Callable[[Path], object], figures: Mapping[str, float]) -> None:
        """Write a checkpoint and remove those that need not stay.

        Those further on make room, too: the run has come here by passing them over as damaged (see `newest`), and they
        must not take the places of whole ones. They stay under another name until the run has gone beyond them.

        Args:
            consumed: windows.
            fill: writes into a folder.
            figures: see `Kept`.

        Raises:
            OSError: it could not be written; the others are as they were.
        """
        seal(self.root / f"{consumed:09d}", fill, {"consumed": consumed, "figures": dict(figures)})
        self._make_room(consumed)
        self._prune()

    def clear(self) -> None:
        """Remove what killed writers left."""
        for path in self.root.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if NAME.fullmatch(path.name))

    def _ranked(self) -> list[Checkpoint]:
        """Those of an epoch's end that have a readable seal, the best at the end."""
        ends = [kept for folder in self._folders() if (kept := _read(folder, look=False)) and kept.figures]
        scored = [kept for kept in ends if "val_knn" in kept.figures] or ends
        return sorted(scored, key=lambda kept: checkpoint_score(kept.figures) if self.keep == "best" else 0.0)

    def _make_room(self, consumed: int) -> None:
        for folder in self._folders():
            if int(folder.name) > consumed:
                aside = folder.with_name(f"{_ASIDE}{folder.name}")
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
        for aside in self.root.glob(f"{_ASIDE}*"):
            if int(aside.name.removeprefix(_ASIDE)) <= consumed:
                shutil.rmtree(aside, ignore_errors=True)

    def _prune(self) -> None:
        folders = self._folders()
        stay = {*folders[-self.spec.last :], *(kept.folder for kept in self._ranked()[-1:])}
        for folder in folders:
            if folder not in stay:
                shutil.rmtree(folder, ignore_errors=True)


def checkpoint_score(figures: Mapping[str, float]) -> float:
    """How good a checkpoint is; more is better: k-NN accuracy or, without it, the loss."""
    return figures.get("val_knn", -figures.get("val_loss", 0.0))


def checkpoint_directory(spec: Train, name: str) -> CheckpointDirectory:
    """The checkpoints of a run in a job's folder."""
    return CheckpointDirectory(spec.out.absolute() / "checkpoints" / name, spec.checkpoints, spec.keep)


def copy_folder(source: Path, target: Path, change: Callable[[Path], object] | None = None) -> None:
    """Copy a folder, whole or not at all, in the place of one that is there.

    Args:
        source: the folder.
        target: its copy.
        change: is given the copy before it is shown.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary, ignore=shutil.ignore_patterns(".*", f"{_ASIDE}*"))
    if change is not None:
        change(temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)


def _whole(folders: Iterable[Path]) -> Checkpoint | None:
    return next((kept for folder in folders if (kept := _read(folder))), None)


def _patiently(folder: Path) -> Checkpoint | None:
    """`_read`; what the storage refuses is asked for again for some seconds."""
    for pause in _PAUSES_S:
        try:
            return _read(folder)
        except OSError:
            time.sleep(pause)
    return _read(folder)


def _read(folder: Path, look: bool = True) -> Checkpoint | None:
    try:
        return Checkpoint(folder, **opened(folder, look))
    except OSError:
        if look:
            raise
        return None
    except (Damaged, TypeError) as error:
        if look:
            _log.warning("%s; it is passed over for the one before, if there is one", error)
        return None


class CheckpointWriter:
    """Writes one checkpoint at a time, while training goes on.

    A checkpoint on the way that cannot be written is warned of, since the next may be; the last one is an error.
    """

    def __init__(self, store: CheckpointDirectory) -> None:
        """Begin with nothing to write.

        `durable`: windows consumed at the newest checkpoint that is known to be whole.
        """
        self.store = store
        self.durable = 0
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def begin(self, consumed: int, fill: Callable[[Path], object], figures: Mapping[str, float]) -> None:
        """Write; returns at once, unless the one before is still being written."""
        if (error := self._ended()) is not None:
            _log.warning("a checkpoint could not be written, and training goes on: %s", error)

        def write() -> None:
            try:
                self.store.save(consumed, fill, figures)
                self.durable = consumed
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=write, name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the one under way; what became of it is told by the next call of `begin` or `close`."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Wait for the last one.

        Raises:
            OSError: it could not be written.
        """
        if (error := self._ended()) is not None:
            raise error

    def _ended(self) -> OSError | None:
        """The complaint of the disk, if there was one; other faults are raised."""
        if self._thread is not None:
            self._thread.join()
        error, self._thread, self._error = self._error, None, None
        if error is None or isinstance(error, OSError):
            return error
        raise error

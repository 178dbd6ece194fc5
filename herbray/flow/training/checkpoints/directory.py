"""A run's checkpoints on disk: listing, verifying and pruning them, and writing them while training continues."""

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from herbray import storage
from herbray.flow.training.checkpoints.selection import Keep, checkpoint_score, rank_checkpoints
from herbray.flow.training.specification import Checkpoints, Train
from herbray.model.portable import CARD_FILE
from herbray.model.sealed_folder import SEAL_FILE, DamagedFolder, verify_sealed, write_sealed

NAME: Final = re.compile(r"\d{9}")
"""Name of a checkpoint's folder: windows consumed."""

_ASIDE: Final = "passed-over-"

_PAUSES_S: Final = (0.5, 1.0, 2.0)
"""Seconds between attempts to read what the storage refuses."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint.

    Attributes:
        folder: that holds it.
        consumed: windows that all ranks had trained on.
        figures: at an epoch's end, with `val_loss` if there is a validation split, and `val_knn` with its standard
            error `val_knn_error` if it can be measured; empty within an epoch.
    """

    folder: Path
    consumed: int
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckpointDirectory:
    """The checkpoints of one run: folders in `root`, on storage that every worker sees."""

    root: Path
    spec: Checkpoints
    keep: Keep = "best"

    def newest(self) -> Checkpoint | None:
        """The newest intact checkpoint. Warns of each damaged checkpoint, and if no checkpoint is intact.

        Raises:
            OSError: the storage refuses every checkpoint that could be intact: a run must not start over for that.
        """
        folders, found, refused = self._folders(), None, None
        for folder in reversed(folders):
            try:
                found = _read_with_retries(folder)
            except OSError as error:
                refused = error
                _log.warning("%s: cannot be read now (%s); the checkpoint before it is used", folder, error.strerror)
            if found:
                break
        if found is None and refused is not None:
            raise refused
        if folders and found is None:
            _log.warning(
                "%s: none of %d checkpoints is intact: training starts from the beginning", self.root, len(folders)
            )
        return found

    def best(self) -> Checkpoint | None:
        """The intact checkpoint that the run yields; see `rank_checkpoints`."""
        return _first_intact(kept.folder for kept in reversed(self._ranked()))

    def save(self, consumed: int, fill: Callable[[Path], object], figures: Mapping[str, float]) -> None:
        """Write a checkpoint and prune the others.

        Checkpoints that are further on are renamed: the run passed over them as damaged (see `newest`), and they must
        not count as intact. They are removed once the run has gone beyond them.

        Args:
            consumed: windows.
            fill: writes into a folder.
            figures: see `Checkpoint`.

        Raises:
            OSError: it could not be written; the others are as they were.
        """
        write_sealed(self.root / f"{consumed:09d}", fill, {"consumed": consumed, "figures": dict(figures)})
        self._set_aside(consumed)
        self._prune()

    def clear(self) -> None:
        """Remove what killed writers left."""
        for path in self.root.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)

    def _folders(self) -> list[Path]:
        return [path for path in storage.glob(self.root, "*") if NAME.fullmatch(path.name)]

    def _ranked(self) -> list[Checkpoint]:
        """Checkpoints at an epoch's end with a readable seal, the best last."""
        ends = [kept for folder in self._folders() if (kept := _read(folder, verify=False)) and kept.figures]
        return [ends[place] for place in rank_checkpoints([kept.figures for kept in ends], self.keep)]

    def _set_aside(self, consumed: int) -> None:
        for folder in self._folders():
            if int(folder.name) > consumed:
                aside = folder.with_name(f"{_ASIDE}{folder.name}")
                _move_aside(folder, aside)
        for aside in storage.glob(self.root, f"{_ASIDE}*"):
            if int(aside.name.removeprefix(_ASIDE)) <= consumed:
                storage.remove_folder(aside, first=SEAL_FILE)

    def _prune(self) -> None:
        folders, ranked = self._folders(), self._ranked()
        stay = {*folders[-self.spec.last :], *(kept.folder for kept in ranked[-1:])}
        if ranked and self.keep == "best":  # the highest score decides which later checkpoints are as good
            stay.add(max(reversed(ranked), key=lambda kept: checkpoint_score(kept.figures)).folder)
        for folder in folders:
            if folder not in stay:
                storage.remove_folder(folder, first=SEAL_FILE)


def checkpoint_directory(spec: Train, name: str) -> CheckpointDirectory:
    """The checkpoints of a run in a job's folder."""
    return CheckpointDirectory(spec.out.absolute() / "checkpoints" / name, spec.checkpoints, spec.keep)


def copy_folder(
    source: Path, target: Path, change: Callable[[Path], object] | None = None, last: str = CARD_FILE
) -> None:
    """Copy a folder, completely or not at all, replacing one that is there.

    Args:
        source: the folder.
        target: its copy.
        change: edits the copy before it appears under its name.
        last: name of the files that a bucket gets last: without them, the copy is not complete.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(storage.fetch_folder(source), temporary, ignore=shutil.ignore_patterns(".*", f"{_ASIDE}*"))
    if change is not None:
        change(temporary)
    storage.publish_folder(temporary, target, last=last)


def _move_aside(folder: Path, aside: Path) -> None:
    """Rename a checkpoint that was passed over; in a bucket it is removed."""
    if storage.is_remote(folder):
        storage.remove_folder(folder, first=SEAL_FILE)
        return
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


def _first_intact(folders: Iterable[Path]) -> Checkpoint | None:
    return next((kept for folder in folders if (kept := _read(folder))), None)


def _read_with_retries(folder: Path) -> Checkpoint | None:
    """`_read`, tried again for some seconds if the storage refuses."""
    for pause in _PAUSES_S:
        try:
            return _read(folder)
        except OSError:
            time.sleep(pause)
    return _read(folder)


def _read(folder: Path, verify: bool = True) -> Checkpoint | None:
    try:
        return Checkpoint(folder, **verify_sealed(folder, verify))
    except OSError:
        if verify:
            raise
        return None
    except (DamagedFolder, TypeError) as error:
        if verify:
            _log.warning("%s; the checkpoint before it is used, if there is one", error)
        return None


class CheckpointWriter:
    """Writes one checkpoint at a time, in a thread.

    A failure within the run is a warning, since the next checkpoint may succeed; a failure of the last one is an error.
    """

    def __init__(self, directory: CheckpointDirectory) -> None:
        """Start with nothing to write.

        `durable`: windows consumed at the newest checkpoint that is known to be intact.
        """
        self.directory = directory
        self.durable = 0
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def begin(self, consumed: int, fill: Callable[[Path], object], figures: Mapping[str, float]) -> None:
        """Start writing; returns at once unless the previous checkpoint is still being written."""
        if (error := self._join()) is not None:
            _log.warning("a checkpoint could not be written; training continues: %s", error)

        def write() -> None:
            try:
                self.directory.save(consumed, fill, figures)
                self.durable = consumed
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=write, name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the checkpoint being written; the next call of `begin` or `close` reports its failure."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Wait for the last checkpoint.

        Raises:
            OSError: it could not be written.
        """
        if (error := self._join()) is not None:
            raise error

    def _join(self) -> OSError | None:
        """The disk's error, if there was one; other errors are raised."""
        if self._thread is not None:
            self._thread.join()
        error, self._thread, self._error = self._error, None, None
        if error is None or isinstance(error, OSError):
            return error
        raise error

"""What an evaluation has measured so far, kept beside its results until these are whole: a killed one goes on."""

import functools
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from herbray import storage, tables, tasks


@dataclass(frozen=True)
class Found:
    """What one task found of one encoder on one split: rows of `schema.RESULT` and of `schema.OUTCOME`."""

    results: pa.Table
    outcomes: pa.Table


class Pieces:
    """Files in `results-unfinished/` beside `results.parquet`, two a piece, named by all that a piece follows from."""

    def __init__(self, results: Path) -> None:
        """Make nothing yet."""
        self.folder = results.with_name(f"{results.stem}-unfinished")

    def read(self, key: str) -> Found | None:
        """What was measured under this fingerprint; None if nothing was, or the files are damaged."""
        try:
            return Found(*(tables.read(path, "") for path in self._files(key)))
        except (OSError, storage.DamagedFile):
            return None

    def write(self, key: str, found: Found) -> None:
        """Keep a piece; each file is seen whole or not at all."""
        for path, table in zip(self._files(key), (found.results, found.outcomes), strict=True):
            tables.write(path, table)

    def clear(self) -> None:
        """The results are whole."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}-results.parquet", self.folder / f"{key}-outcomes.parquet"


def embeddings_print(folder: Path) -> str:
    """Fingerprint of an embeddings folder: of its files as they are."""
    seen = hashlib.sha256()
    for path in [folder / "manifest.json", *sorted(folder.glob("split=*/part-*.parquet"))]:
        with path.open("rb") as file:
            seen.update(
                f"{path.relative_to(folder).as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
            )
    return seen.hexdigest()[:16]


@functools.cache
def code_print() -> str:
    """Fingerprint of the tasks' code: after a change to it, nothing that was measured before counts."""
    seen = hashlib.sha256()
    for path in sorted(Path(tasks.__file__).parent.glob("*.py")):
        seen.update(path.read_bytes())
    return seen.hexdigest()[:16]

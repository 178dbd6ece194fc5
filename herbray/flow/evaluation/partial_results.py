"""The partial results of an evaluation, kept in files until all results are written, so that it can be resumed."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from herbray import neighbours, probes, storage, tables, tasks


@dataclass(frozen=True)
class PartialResult:
    """The result of one task for one encoder on one split: rows of `schema.RESULT` and of `schema.OUTCOME`."""

    results: pa.Table
    outcomes: pa.Table


class PartialResults:
    """The files in `results-unfinished/`, next to `results.parquet`: two per partial result, named by its fingerprint.

    The fingerprint covers everything that the partial result depends on.
    """

    def __init__(self, results: Path) -> None:
        """Create no file yet."""
        self.folder = results.with_name(f"{results.stem}-unfinished")

    def read(self, key: str) -> PartialResult | None:
        """The partial result with this fingerprint; None if the files do not exist or are damaged."""
        try:
            return PartialResult(*(tables.read(path, "") for path in self._files(key)))
        except storage.StoreUnreachable:
            raise
        except (OSError, storage.DamagedFile):
            return None

    def write(self, key: str, found: PartialResult) -> None:
        """Write a partial result, each file in one step."""
        for path, table in zip(self._files(key), (found.results, found.outcomes), strict=True):
            tables.write(path, table)

    def clear(self) -> None:
        """Remove all partial results."""
        storage.remove_folder(self.folder)

    def _files(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}-results.parquet", self.folder / f"{key}-outcomes.parquet"


def fingerprint_embeddings(folder: Path) -> str:
    """Fingerprint of the content of an embeddings folder."""
    digest = hashlib.sha256()
    for path in [folder / "manifest.json", *storage.glob(folder, "split=*/part-*.parquet")]:
        with storage.fetch(path).open("rb") as file:
            digest.update(
                f"{path.relative_to(folder).as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
            )
    return digest.hexdigest()[:16]


@functools.cache
def fingerprint_code() -> str:
    """Fingerprint of the code of tasks, probes and neighbours: a change to it makes all partial results invalid."""
    digest = hashlib.sha256()
    for package in (tasks, probes, neighbours):
        for path in sorted(Path(str(package.__file__)).parent.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]

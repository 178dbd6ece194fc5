"""The job files that ship: `jobs/` beside the package in a checkout, inside the package in an installed wheel."""

from pathlib import Path
from typing import Final

from herbray import storage

_PACKAGE: Final = Path(__file__).parents[1]
_MAX_NAMED: Final = 8  # files in an error


def find_folder() -> Path:
    """The folder of the shipped YAML files, and of the scripts that `ray job submit` runs.

    Raises:
        ValueError: they are not there: the package was copied without them.
    """
    for place in (_PACKAGE / "jobs", _PACKAGE.parent / "jobs"):
        if (place / "demo.yaml").is_file():
            return place
    raise ValueError(f"{_PACKAGE}: the job files are missing from this installation; install herbray again")


def copy_job_files(to: Path, overwrite: bool = False) -> list[Path]:
    """Copy the job files to `to/jobs`, so that the commands in their heads are right in `to`.

    Args:
        to: a folder, made where it is missing.
        overwrite: files that exist with other content, too.

    Returns:
        The files that were written; one that is there already, as it ships, is not.

    Raises:
        ValueError: files with other content exist, and were not to be overwritten; nothing was written.
    """
    source, target = find_folder(), to / "jobs"
    pairs = [(file, target / file.relative_to(source)) for file in _files(source)]
    pairs = [(file, place) for file, place in pairs if not _is_same(file, place)]
    there = [str(place) for _, place in pairs if place.exists()]
    if there and not overwrite:
        more = f" and {len(there) - _MAX_NAMED} more" if len(there) > _MAX_NAMED else ""
        raise ValueError(
            f"not the same as what ships: {', '.join(there[:_MAX_NAMED])}{more}. Nothing was written; name another folder, "
            "or overwrite them with --force"
        )
    for file, place in pairs:
        storage.write_bytes(place, file.read_bytes())
    return [place for _, place in pairs]


def _files(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.suffix in (".yaml", ".py"))


def _is_same(file: Path, place: Path) -> bool:
    return place.is_file() and place.read_bytes() == file.read_bytes()

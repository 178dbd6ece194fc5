"""The shipped job files: `jobs/` next to the package in a checkout, inside the package in an installed wheel."""

from pathlib import Path
from typing import Final

from herbray import storage

_PACKAGE: Final = Path(__file__).parents[1]
_MAX_NAMED: Final = 8  # files in an error message
_IGNORED: Final = ".rayignore"
_RESULTS: Final = "# Not shipped by `ray job submit --working-dir .`\n/runs/\n"


def find_folder() -> Path:
    """The folder of the shipped YAML files, and of the scripts that `ray job submit` runs.

    Raises:
        ValueError: the folder is missing: the package was copied without it.
    """
    for folder in (_PACKAGE / "jobs", _PACKAGE.parent / "jobs"):
        if (folder / "demo.yaml").is_file():
            return folder
    raise ValueError(f"{_PACKAGE}: the job files are missing from this installation; install herbray again")


def copy_job_files(to: Path, overwrite: bool = False) -> list[Path]:
    """Copy the job files to `to/jobs`, so that the commands in their first lines can be run from `to`.

    A new `to/.rayignore` keeps results in `to/runs` from being shipped with a job; an existing one is not changed.

    Args:
        to: a folder; created if missing.
        overwrite: also overwrite existing files with other content.

    Returns:
        The job files that were written; existing files with the shipped content are not written again.

    Raises:
        ValueError: files with other content exist and `overwrite` is False; nothing was written.
    """
    source, target = find_folder(), to / "jobs"
    pairs = [(file, target / file.relative_to(source)) for file in _files(source)]
    pairs = [(file, copy) for file, copy in pairs if not _is_same(file, copy)]
    existing = [str(copy) for _, copy in pairs if copy.exists()]
    if existing and not overwrite:
        more = f" and {len(existing) - _MAX_NAMED} more" if len(existing) > _MAX_NAMED else ""
        raise ValueError(
            f"these files differ from the shipped ones: {', '.join(existing[:_MAX_NAMED])}{more}. Nothing was written; "
            "choose another folder, or overwrite the files with --force"
        )
    for file, copy in pairs:
        storage.write_bytes(copy, file.read_bytes())
    if not (to / _IGNORED).exists():
        storage.write_text(to / _IGNORED, _RESULTS)
    return [copy for _, copy in pairs]


def _files(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.suffix in (".yaml", ".py"))


def _is_same(file: Path, copy: Path) -> bool:
    return copy.is_file() and copy.read_bytes() == file.read_bytes()

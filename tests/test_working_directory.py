"""What `ray job submit --working-dir .` ships, by Ray's own functions, without a cluster."""

import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import _zip_files

from herbray.settings import job_files

ROOT = Path(__file__).parents[1]


def ship(folder, to):
    _zip_files(str(folder), get_runtime_env_default_excludes(), str(to), include_gitignore=True)
    with zipfile.ZipFile(to) as package:
        return [entry for entry in package.infolist() if not entry.is_dir()]


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    return ship(ROOT, tmp_path_factory.mktemp("ship") / "package.zip")


def test_two_and_a_half_mb_are_shipped_at_most(shipped):
    assert sum(entry.file_size for entry in shipped) < 2.5e6


def test_the_package_and_the_jobs_are_shipped_and_nothing_that_jobs_do_not_read(shipped):
    names = {entry.filename for entry in shipped}
    assert {"jobs/train.py", "jobs/train.yaml", "herbray/cli.py", "herbray/presets/walker2022.yaml"} <= names
    folders = {name.partition("/")[0] for name in names if "/" in name}
    assert folders == {"herbray", "jobs"}
    assert {
        "pyproject.toml",
        "README.md",
        "requirements.lock",
    } <= names  # uv builds herbray from them on a bare cluster
    assert not [name for name in names if "__pycache__" in name]


def test_a_folder_of_job_files_ships_no_results(tmp_path):
    job_files.copy_job_files(tmp_path)
    (tmp_path / "runs" / "shards").mkdir(parents=True)
    (tmp_path / "runs" / "shards" / "part.parquet").write_bytes(bytes(3_000_000))
    (tmp_path / "labels.csv").touch()
    names = {entry.filename for entry in ship(tmp_path, tmp_path.parent / f"{tmp_path.name}.zip")}
    assert {"labels.csv", "jobs/train.py"} <= names
    assert not [name for name in names if name.startswith("runs")]

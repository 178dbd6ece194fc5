import resource
import shutil
from pathlib import Path

import pytest

from herbray.flow.doctor import machine
from herbray.flow.doctor.finding import GB


def test_a_folder_with_enough_space_is_ok(tmp_path):
    (finding,) = machine.check_disk([tmp_path], 0)
    assert finding.status == "ok"
    assert "GB free, writable" in finding.found


def test_too_little_free_space_is_an_error_and_little_a_warning(tmp_path):
    free = shutil.disk_usage(tmp_path).free / GB
    assert next(machine.check_disk([tmp_path], 2 * free)).status == "error"
    warned = next(machine.check_disk([tmp_path], 0.75 * free))
    assert warned.status == "warning"
    assert "free up disk space" in warned.remedy


def test_a_missing_folder_is_a_warning_and_a_file_in_its_place_an_error(tmp_path):
    (tmp_path / "file").touch()
    missing, blocked = machine.check_disk([tmp_path / "runs" / "deep", tmp_path / "file" / "runs"], 0)
    assert (missing.status, blocked.status) == ("warning", "error")
    assert "does not exist yet" in missing.found
    assert "is a file" in blocked.found
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_written_is_an_error():
    (finding,) = machine.check_disk([Path("/proc/self")], 0)
    assert finding.status == "error"
    assert "cannot be written" in finding.found


def test_small_or_absent_shared_memory_is_a_warning(tmp_path):
    assert next(machine.check_shared_memory(0, tmp_path)).status == "ok"
    few = next(machine.check_shared_memory(10**6, tmp_path))
    assert few.status == "warning"
    assert "--shm-size" in few.remedy
    assert next(machine.check_shared_memory(1, tmp_path / "none")).status == "warning"


def test_open_files_follow_the_limit_of_this_process():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        assert next(machine.check_open_files(256)).status == "ok"
        low = next(machine.check_open_files(513))
        assert low.status == "warning"
        assert "ulimit -n 513" in low.remedy
        if hard != resource.RLIM_INFINITY:
            assert next(machine.check_open_files(hard + 1)).status == "error"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_driver_that_torch_cannot_use_is_reported(tmp_path):
    import torch

    if torch.cuda.is_available():
        (finding,) = machine.check_gpu()
        assert (finding.status, torch.cuda.get_device_name(0) in finding.found) == ("ok", True)
        return
    assert next(machine.check_gpu(tmp_path / "none")).status == "ok"
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n")
    found = next(machine.check_gpu(tmp_path / "version"))
    assert found.status in ("warning", "error")
    assert "550.54.15" in found.found
    assert found.remedy


@pytest.mark.parametrize("text", ["", "no digits here"])
def test_a_driver_of_unknown_version_is_still_a_driver(tmp_path, text):
    (tmp_path / "version").write_text(text)
    assert machine._driver_version(tmp_path / "version") == "of unknown version"

"""This machine: disk, shared memory, open files, GPU."""

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from herbray.flow.doctor.finding import GB, Finding
from herbray.storage import is_remote
from herbray.storage.address import cache_of


def check_disk(folders: Sequence[Path], free_gb: float) -> Iterator[Finding]:
    """Whether each folder is writable and its disk has enough free space.

    Args:
        folders: that jobs write to; for one that does not exist, its nearest existing parent is checked, and for an
            address the folder of local copies.
        free_gb: less is an error, less than twice as much a warning; in 10⁹ bytes.
    """
    caches = {cache_of(folder) for folder in folders if is_remote(folder)}
    for folder in (*(each for each in folders if not is_remote(each)), *sorted(caches)):
        yield _check_folder(folder.absolute(), free_gb)


def _check_folder(folder: Path, free_gb: float) -> Finding:
    check = f"disk {folder}"
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not place.is_dir():
        return Finding(check, "error", f"{place} is a file", "move the file, or choose another folder")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"herbray")
    except OSError as error:
        return Finding(
            check,
            "error",
            f"{place} cannot be written: {error.strerror}",
            "mount the disk, or make the folder writable",
        )
    free = shutil.disk_usage(place).free / GB
    found = f"{free:,.1f} GB free, {'writable' if place == folder else f'does not exist yet; {place} is writable'}"
    if free < free_gb:
        return Finding(check, "error", found, f"free up disk space: jobs need {free_gb:g} GB here")
    if free < 2 * free_gb:
        return Finding(
            check, "warning", found, f"free up disk space: less than twice the {free_gb:g} GB that jobs need"
        )
    if place != folder:
        return Finding(
            check, "warning", found, "the first job creates the folder; if it is a mount point, mount it first"
        )
    return Finding(check, "ok", found)


def check_shared_memory(wanted_gb: float, path: Path = Path("/dev/shm")) -> Iterator[Finding]:  # noqa: S108  (only its size is read)
    """Whether Ray's object store fits in shared memory; if not, Ray keeps objects on disk, which is far slower."""
    if not path.is_dir():
        yield Finding(
            "shared memory", "warning", f"{path} does not exist", "Ray uses the disk instead; use Linux for speed"
        )
        return
    free = shutil.disk_usage(path).free / GB
    few = free < wanted_gb
    remedy = f"start a container with --shm-size={wanted_gb:g}g; give a pod a Memory volume at {path}" if few else ""
    yield Finding("shared memory", "warning" if few else "ok", f"{free:,.1f} GB free in {path}", remedy)


def check_open_files(wanted: int) -> Iterator[Finding]:
    """Whether a process may open enough files: Ray needs hundreds of sockets, and raises the soft limit if it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(wanted, soft)
    found = f"{soft:,}, at most {hard:,}"
    if hard < wanted:
        remedy = (
            f"raise the limit to {wanted:,}: /etc/security/limits.conf, or --ulimit nofile={wanted} for a container"
        )
        yield Finding("open files", "error", found, remedy)
    elif soft < wanted:
        yield Finding("open files", "warning", found, f"run `ulimit -n {wanted}` before `ray start`")
    else:
        yield Finding("open files", "ok", found)


def check_gpu(driver: Path = Path("/proc/driver/nvidia/version")) -> Iterator[Finding]:
    """Whether torch sees the GPUs of this machine."""
    import torch  # here: tasks that only check a node's memory start faster

    built = torch.version.cuda or torch.version.hip
    version = _driver_version(driver)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
        yield Finding("GPU", "ok", f"{', '.join(names)}; torch built for {built}, driver {version or 'unknown'}")
    elif version and os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        yield Finding("GPU", "warning", "hidden by CUDA_VISIBLE_DEVICES=''", "unset CUDA_VISIBLE_DEVICES to use it")
    elif version and not built:
        yield Finding("GPU", "warning", f"driver {version}, but torch has no CUDA", "install torch's CUDA build")
    elif version:
        remedy = f"update the driver to one for CUDA {built}, or install the torch build for this driver"
        yield Finding("GPU", "error", f"driver {version}, but torch (built for {built}) sees no GPU", remedy)
    else:
        yield Finding("GPU", "ok", "none: training and embedding run on the CPU")


def _driver_version(path: Path) -> str:
    """Version of NVIDIA's kernel driver; empty if there is none."""
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word), "of unknown version")

"""This machine: disk, shared memory, open files, GPU."""

import os
import resource
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from herbray.flow.doctor.finding import GB, Finding


def check_disk(folders: Sequence[Path], free_gb: float) -> Iterator[Finding]:
    """Whether each folder can be written and has room.

    Args:
        folders: that jobs write to; one that does not exist is judged by the nearest folder above it that does.
        free_gb: an error below, a warning below twice as much. In 10⁹ bytes.
    """
    for folder in folders:
        yield _check_folder(folder.absolute(), free_gb)


def _check_folder(folder: Path, free_gb: float) -> Finding:
    check = f"disk {folder}"
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not place.is_dir():
        return Finding(check, "error", f"{place} is a file", "move it away, or name another folder")
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"herbray")
    except OSError as error:
        return Finding(check, "error", f"{place} cannot be written: {error.strerror}", "mount it, or make it writable")
    free = shutil.disk_usage(place).free / GB
    told = f"{free:,.1f} GB free, {'writable' if place == folder else f'not there yet; {place} is writable'}"
    if free < free_gb:
        return Finding(check, "error", told, f"make room: jobs here need {free_gb:g} GB")
    if free < 2 * free_gb:
        return Finding(check, "warning", told, f"less than twice the {free_gb:g} GB that jobs here need: make room")
    if place != folder:
        return Finding(check, "warning", told, "the first job makes it; if it is a mount, mount it first")
    return Finding(check, "ok", told)


def check_shared_memory(wanted_gb: float, path: Path = Path("/dev/shm")) -> Iterator[Finding]:  # noqa: S108  (only its size is read)
    """Room for Ray's object store, in 10⁹ bytes; with less, Ray keeps objects on disk, which is far slower."""
    if not path.is_dir():
        yield Finding("shared memory", "warning", f"there is no {path}", "Ray uses the disk instead; Linux has one")
        return
    free = shutil.disk_usage(path).free / GB
    few = free < wanted_gb
    remedy = f"a container wants --shm-size={wanted_gb:g}g, a pod a Memory volume at {path}" if few else ""
    yield Finding("shared memory", "warning" if few else "ok", f"{free:,.1f} GB free in {path}", remedy)


def check_open_files(wanted: int) -> Iterator[Finding]:
    """Open files that a process may have: Ray needs sockets by the hundred, and raises the soft limit where it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(wanted, soft)
    told = f"{soft:,}, at most {hard:,}"
    if hard < wanted:
        remedy = f"raise the limit to {wanted:,}: /etc/security/limits.conf, or --ulimit nofile={wanted} of a container"
        yield Finding("open files", "error", told, remedy)
    elif soft < wanted:
        yield Finding("open files", "warning", told, f"`ulimit -n {wanted}` before `ray start`")
    else:
        yield Finding("open files", "ok", told)


def check_gpu(driver: Path = Path("/proc/driver/nvidia/version")) -> Iterator[Finding]:
    """GPUs as torch sees them, and whether there is one that it does not see."""
    import torch  # here: tasks that look at a node's memory alone start sooner

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
    """Version of NVIDIA's kernel driver; empty where there is none."""
    try:
        words = path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return ""
    return next((word for word in words if word[0].isdigit() and "." in word), "of unknown version")

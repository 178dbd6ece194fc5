"""Processes in the background, each with a log file, that are stopped by process id, with those that they start."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

MARK: Final = "HERBRAY_LOCAL_CLUSTER"
"""Variable in the environment of every process of a local cluster, also of those whose parents are gone: its folder."""

_GRACE_S: Final = 20.0


class StepFailed(RuntimeError):
    """A part does not work; the message says what, and where to read more."""


def start(
    folder: Path, name: str, command: Sequence[object], environment: Mapping[str, str], user: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a process whose output goes to `FOLDER/log/NAME.log`; `user`: its account, if this one is root."""
    log = log_file(folder, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(
            [str(word) for word in command],
            env={**environment, MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            user=user,
            start_new_session=True,  # Ctrl-C ends this program, which then ends the processes one by one
        )


def log_file(folder: Path, name: str) -> Path:
    """The output of a process."""
    return folder / "log" / f"{name}.log"


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(f"    | {line[:400]}" for line in text.splitlines()[-lines:])


def members(folder: Path) -> list[psutil.Process]:
    """All living processes of a cluster, by their environment; also those of clusters in folders below."""
    return [process for process in psutil.process_iter() if f"{_mark(process)}/".startswith(f"{folder}/")]


def _mark(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.Error, OSError):
        if process.status() != psutil.STATUS_ZOMBIE:
            return process.environ().get(MARK)
    return None


def tree(pid: int) -> list[psutil.Process]:
    """A process and all that it has started, directly or not."""
    try:
        root = psutil.Process(pid)
        return [*root.children(recursive=True), root]
    except psutil.NoSuchProcess:
        return []


def end(processes: Sequence[psutil.Process]) -> None:
    """SIGTERM; after a grace, SIGKILL."""
    _send(processes, signal.SIGTERM)
    kill(psutil.wait_procs(processes, timeout=_GRACE_S)[1])


def kill(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL, as if the power failed."""
    _send(processes, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=_GRACE_S)


def _send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_for(what: str, look: Callable[[], object], seconds: float, pid: int | None = None) -> None:
    """Look twice a second until the answer is true.

    Raises:
        StepFailed: it was not within the time, or the process `pid` has ended.
    """
    end_time, last = time.monotonic() + seconds, ""
    while time.monotonic() < end_time:
        try:
            if look():
                return
        except (OSError, ValueError, KeyError) as error:
            last = f" ({type(error).__name__}: {error})"
        if pid is not None and not (psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE):
            raise StepFailed(f"{what}: the process has ended{last}")
        time.sleep(0.5)
    raise StepFailed(f"{what}: not within {seconds:g} s{last}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now, each another one."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def accepts(port: int) -> bool:
    """Whether a server listens on 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_root() -> bool:
    """Whether this process may change accounts, and PostgreSQL refuses to run under this one."""
    return os.geteuid() == 0

"""Ray nodes on this machine that demand a token, and jobs that are submitted to them."""

import contextlib
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from processes import StepFailed, free_ports, kill, log_file, start, tail, tree, wait_for
from services import DIRECT

ROOT: Final = Path(__file__).parents[2]

_AGENT_PORTS: Final = (
    *("--dashboard-agent-listen-port", "--dashboard-agent-grpc-port"),
    *("--metrics-export-port", "--runtime-env-agent-port"),
)

_ADDRESS: Final = "127.0.1.{}"
"""Of each of two nodes: a loopback address. Ray would replace 127.0.0.1 by the address in the network."""

_PATIENCE: Final = {
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
}
"""For a busy machine. A node waits 15 s for the ports of its agents, and not at all if the ports are given."""

_OF_THE_CLIENT: Final = re.compile(r"^[\d-]{10} [\d:,]+\s+[A-Z]+ \w+\.py:\d+ -- |^Running entrypoint for job ")
"""Lines of `ray job submit` itself."""

_TRIES: Final = 3
"""On a busy machine a node may take longer than the 30 seconds that Ray allows, which no setting changes."""


@dataclass(frozen=True)
class Ray:
    """A cluster; `settings` is what its nodes find in their environment, apart from the token, such as accounts."""

    folder: Path
    token: str
    port: int
    dashboard_port: int
    settings: Mapping[str, str]
    python: Path = Path(sys.executable)

    @property
    def address(self) -> str:
        """Of the dashboard, to which jobs are submitted."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def client(self) -> dict[str, str]:
        """What a shell needs to submit jobs."""
        path = str(self.folder / "ray-token")
        return {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": path}

    @property
    def environment(self) -> dict[str, str]:
        """Of nodes, and of commands such as `ray job submit`."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "HERBRAY_"))
        }
        kept["PATH"] = f"{self.python.parent}:{kept['PATH']}"
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_DOCKER_CPU_WARNING": "1", "OMP_NUM_THREADS": "1"}
        quiet["PYTHONDONTWRITEBYTECODE"] = (
            ""  # else each process would compile the libraries, and start too late for Ray
        )
        return kept | quiet | _PATIENCE | self.client

    def ask(self, path: str, token: str | None = None) -> Any:  # noqa: ANN401 - JSON
        """A question to the dashboard."""
        request = urllib.request.Request(self.address + path)
        request.add_header("Authorization", f"Bearer {self.token if token is None else token}")
        with DIRECT.open(request, timeout=10) as answer:
            return json.load(answer)


def start_head(ray: Ray, cpus: int, alone: bool = False) -> int:
    """The first node, with the dashboard; returns its process id when the node accepts jobs.

    Args:
        ray: the cluster.
        cpus: that the node offers.
        alone: no other node will join; then all of its servers listen on 127.0.0.1.
    """
    with os.fdopen(os.open(ray.folder / "ray-token", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(ray.token)
    words = ["--head", "--port", ray.port, "--dashboard-host", "127.0.0.1", "--dashboard-port", ray.dashboard_port]
    words += ["--temp-dir", ray.folder / "ray-1", "--no-monitor"]  # no autoscaler: there is nothing to scale
    if alone:
        # Ray has this switch for systems whose firewall asks about every program that listens.
        return _start_node(ray, "ray-head", words, cpus, 1, RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0")
    return _start_node(ray, "ray-head", [*words, "--node-ip-address", _ADDRESS.format(1)], cpus, 1)


def start_node(ray: Ray, name: str, cpus: int, number: int) -> int:
    """A second node, of an address with this number; returns its process id when two nodes accept jobs."""
    words = ["--address", f"{_ADDRESS.format(1)}:{ray.port}", "--node-ip-address", _ADDRESS.format(number)]
    # Nodes that share this folder unpack a job's files over each other, while processes read them.
    words += ["--temp-dir", str(ray.folder / f"ray-{number}")]
    return _start_node(ray, name, words, cpus, 2)


def _start_node(ray: Ray, name: str, words: Sequence[object], cpus: int, count: int, **more: str) -> int:
    common = ["--block", "--num-cpus", cpus, "--object-store-memory", 150 * 2**20, "--disable-usage-stats"]
    ports = free_ports(len(_AGENT_PORTS))
    for option, port in zip(_AGENT_PORTS, ports, strict=True):
        common += [option, port]
    command = [ray.python, "-m", "ray.scripts.scripts", "start", *words, *common]
    environment = {name: value for name, value in ray.environment.items() if name != "RAY_ADDRESS"}
    left = _TRIES
    while True:
        left -= 1
        process = start(ray.folder, name, command, environment | dict(ray.settings) | more)
        try:
            _wait_for_nodes(ray, count, process.pid, ports[0])
            return process.pid
        except StepFailed:
            log = log_file(ray.folder, name)
            if not left or "timed out during startup" not in log.read_text(errors="replace"):
                raise StepFailed(f"{name} did not start, {log}\n{tail(log)}") from None
            kill_node(process.pid)


def _wait_for_nodes(ray: Ray, count: int, pid: int, agent_port: int) -> None:
    """Wait until so many nodes live and their agents, which start jobs, have registered with the dashboard.

    `ray start` returns before that. Listing an agent's log reaches the agent through the dashboard.
    """

    def look() -> bool:
        _note_agent_port(pid, agent_port)
        nodes = [node["raylet"] for node in ray.ask("/nodes?view=summary")["data"]["summary"]]
        alive = [node["nodeId"] for node in nodes if node["state"] == "ALIVE"]
        logs = [ray.ask(f"/api/v0/logs?node_id={node}&timeout=5")["result"] for node in alive]
        return len(alive) == count and all(logs)

    wait_for(f"{count} Ray nodes", look, 420, pid)


def _note_agent_port(pid: int, port: int) -> None:
    """Write the note in which a node's agent tells its port, before the agent has started.

    `ray start` passes this port to the agent alone; the node gives up after 15 s, which is too soon on a busy machine.
    """
    for process in tree(pid):
        with contextlib.suppress(psutil.Error):
            words = dict(word.lstrip("-").split("=", 1) for word in process.cmdline() if "=" in word)
            if process.name() == "raylet" and {"session_dir", "node_id"} <= words.keys():
                note = Path(words["session_dir"]) / f"dashboard_agent_listen_port_{words['node_id']}"
                if not note.exists():
                    note.write_text(str(port))


def kill_node(pid: int) -> int:
    """SIGKILL to all processes of a node; returns how many there were."""
    processes = tree(pid)
    kill(processes)
    return len(processes)


@dataclass(frozen=True)
class Job:
    """A submitted job: its id, and the command that shows its output."""

    ray: Ray
    id: str
    command: "subprocess.Popen[bytes]"

    @property
    def log(self) -> Path:
        """What `ray job submit` printed."""
        return log_file(self.ray.folder, self.id)

    def wait(self, seconds: float = 2400) -> str:
        """Wait for the end; returns the job's last line.

        Raises:
            StepFailed: the job has failed, or takes too long.
        """
        try:
            code = self.command.wait(seconds)
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{self.id}: not within {seconds:g} s, {self.log}\n{tail(self.log)}") from None
        if code:
            raise StepFailed(f"{self.id}: `ray job submit` ended with {code}, {self.log}\n{tail(self.log)}")
        return last_line(self.log)

    def wait_for_failure(self, seconds: float = 2400) -> str:
        """Wait for the end of a job that must fail; returns its last line, which is the cause."""
        if not self.command.wait(seconds):
            raise StepFailed(f"{self.id}: has not failed, {self.log}")
        return last_line(self.log)

    @property
    def status(self) -> str:
        """Ray's word: RUNNING, SUCCEEDED, FAILED, STOPPED."""
        return str(self.ray.ask(f"/api/jobs/{self.id}")["status"])


def submit(ray: Ray, id: str, words: Sequence[str], runtime_env: Mapping[str, Any], folder: Path = ROOT) -> Job:
    """`ray job submit --working-dir FOLDER --runtime-env-json … -- python jobs/VERB.py …`."""
    command = [ray.python, "-m", "ray.scripts.scripts", "job", "submit", "--submission-id", id, "--working-dir", folder]
    command += ["--runtime-env-json", json.dumps(runtime_env), "--", *words]
    return Job(ray, id, start(ray.folder, id, command, ray.environment))


def stop(job: Job) -> None:
    """`ray job stop ID`; returns when Ray says that the job has ended."""
    words = [str(job.ray.python), "-m", "ray.scripts.scripts", "job", "stop", job.id]
    done = subprocess.run(words, env=job.ray.environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise StepFailed(f"`ray job stop` ended with {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}")


def last_line(log: Path) -> str:
    """The last line that the job itself printed."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    own = [line for line in lines if line and not _OF_THE_CLIENT.search(line)]
    return own[-1] if own else ""

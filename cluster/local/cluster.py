"""A cluster on this machine: two Ray nodes with a token, PostgreSQL, an S3 server, MLflow with accounts.

python cluster/local/cluster.py up FOLDER [--ray-only]    then: source FOLDER/environment.sh
python cluster/local/cluster.py down FOLDER

FOLDER must not exist, and its path must be short, because Ray puts sockets there: /tmp/herbray, not a folder deep in a
home. `up` returns when jobs can be submitted. `down` ends the cluster's processes by their ids, and no other; FOLDER
stays. `--ray-only` starts one Ray node that listens on 127.0.0.1 only. Of two nodes, Ray's own servers listen on every
interface and demand the token; all other parts listen on 127.0.0.1. The S3 server keeps its objects in memory. It
proves addresses and requests; not conditional puts that race, consistency between replicas, permissions, or throughput.
"""

import argparse
import os
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ray_nodes
import services
from processes import StepFailed, end, free_ports, is_root, members
from ray_nodes import Ray
from services import Services

BUCKETS = ("mlflow", "herbray")
NODE_CPUS = 2


@dataclass(frozen=True)
class Cluster:
    """What runs, and how to reach it; `services` is None if only Ray runs."""

    ray: Ray
    services: Services | None
    node: int
    """Process id of the second node, if there is one, else of the only one."""

    @property
    def variables(self) -> dict[str, str]:
        """For a shell that submits jobs."""
        if self.services is None:
            return self.ray.client
        tracking = {"MLFLOW_TRACKING_URI": self.services.tracking} | self.services.account
        return self.ray.client | tracking | self.services.store


def bring_up(folder: Path, ray_only: bool = False, say: Callable[[str], None] = print) -> Cluster:
    """Start everything, in a folder that does not exist yet.

    Raises:
        StepFailed: a part did not start.
        ValueError: the folder exists, or its path is too long for Ray's sockets.
    """
    make_folder(folder)
    database, store, tracking, port, dashboard = free_ports(5)
    names = ("database", "store", "admin", "account", "pages")
    parts = Services(folder, {name: secrets.token_hex(24) for name in names}, database, store, tracking)
    ray = Ray(folder, secrets.token_hex(32), port, dashboard, {} if ray_only else parts.store | parts.account)
    if not ray_only:
        services.start_store(parts)
        services.start_database(parts)
    head = ray_nodes.start_head(ray, max(4, os.cpu_count() or 1) if ray_only else NODE_CPUS, alone=ray_only)
    say(f"Ray accepts jobs at {ray.address}")
    node = head
    if not ray_only:
        node = ray_nodes.start_node(ray, "ray-node", NODE_CPUS, 2)
        say("a second Ray node has joined")
        services.make_database(parts)
        services.make_buckets(parts, *BUCKETS)
        say("PostgreSQL and the S3 server run")
        services.start_tracking(parts)
        services.make_account(parts)
        say(f"the tracking server runs at {parts.tracking}")
    return Cluster(ray, None if ray_only else parts, node)


def make_folder(folder: Path) -> None:
    """Make the folder; PostgreSQL's account must be able to enter it if this process is root.

    Raises:
        ValueError: see above.
    """
    if len(str(folder)) > 30:
        raise ValueError(f"{folder}: too long for the sockets of Ray, which has 30 characters at most: take /tmp/NAME")
    if folder.exists():
        raise ValueError(f"{folder}: exists already; name a new folder")
    folder.mkdir(parents=True, mode=0o711)
    closed = next((parent for parent in folder.parents if not parent.stat().st_mode & 0o001), None)
    if is_root() and closed is not None:
        raise ValueError(f"{closed}: PostgreSQL does not run as root, and other accounts cannot enter; take /tmp/NAME")


def take_down(folder: Path) -> int:
    """End all processes of the cluster; returns how many there were."""
    processes = members(folder)
    end(processes)
    return len(processes)


def write_environment(cluster: Cluster) -> Path:
    """A file to source in a shell; only its owner may read it."""
    file = cluster.ray.folder / "environment.sh"
    file.touch(mode=0o600)
    file.write_text("".join(f"export {name}='{value}'\n" for name, value in cluster.variables.items()))
    return file


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--ray-only", action="store_true", help="one Ray node; no PostgreSQL, S3 server and tracking server"
    )
    given = parser.parse_args()
    folder = given.folder.absolute()
    if given.action == "down":
        print(f"{take_down(folder)} processes have ended")
        return 0
    try:
        cluster = bring_up(folder, given.ray_only)
    except (StepFailed, ValueError) as error:
        take_down(folder)
        print(error, file=sys.stderr)
        return 1
    print(f"source {write_environment(cluster)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

import subprocess
import sys

import pytest

from herbray.flow.cluster import connection
from herbray.flow.cluster.placement import Node

SCRIPT = """
import ray
from herbray.flow.cluster import connection as cluster

def asked():
    from ray._private.services import canonicalize_bootstrap_address_or_die as found
    return found("auto")

with cluster.connect(dashboard=True):
    own = ray.get_runtime_context().gcs_address
    there = ray.get(ray.remote(num_cpus=0)(asked).remote())
    print(there.rpartition(":")[2] == own.rpartition(":")[2])
"""


@pytest.mark.long
def test_processes_ask_their_own_cluster_when_there_are_two(cluster):
    """Ray's cleaner, which frees the CPUs of stopped trials, died when it found two clusters on a machine."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout.split() == ["True"], done.stderr[-2000:]


@pytest.mark.parametrize(
    ("nodes", "cores", "due"), [([4], 2, 2), ([4], 3, 1), ([4], 4, 1), ([4], 1, 4), ([1], 2, 1), ([64, 64], 2, 1)]
)
def test_a_task_can_have_a_core_to_itself(nodes, cores, due, monkeypatch):
    monkeypatch.setattr(connection, "living_nodes", lambda: [Node(float(cpus)) for cpus in nodes])
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert connection.cpus_per_core() == due

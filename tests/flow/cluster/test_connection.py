import subprocess
import sys

import pytest

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

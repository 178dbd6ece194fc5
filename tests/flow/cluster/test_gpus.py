"""A job that demands GPUs: refused at once where they cannot come, else it waits for them."""

import os
import subprocess
import sys

import pytest
import torch

from herbray.flow.cluster import gpus
from herbray.flow.cluster.gpus import NoGpus, find_nodes
from herbray.flow.input.to_device import choose_device


@pytest.fixture
def growing(cluster, monkeypatch):
    """The session's cluster, with an autoscaler that may reach so many nodes of two GPUs; -1: without limit."""
    from ray._raylet import GCS_AUTOSCALER_CLUSTER_CONFIG_KEY, GCS_AUTOSCALER_STATE_NAMESPACE
    from ray.core.generated.autoscaler_pb2 import ClusterConfig
    from ray.experimental import internal_kv

    def write(nodes):
        config = ClusterConfig()
        config.node_group_configs.add(name="cpu", max_count=4).resources["CPU"] = 8
        config.node_group_configs.add(name="gpu", max_count=nodes).resources.update({"CPU": 8, "GPU": 2})
        internal_kv._internal_kv_put(
            GCS_AUTOSCALER_CLUSTER_CONFIG_KEY, config.SerializeToString(), namespace=GCS_AUTOSCALER_STATE_NAMESPACE
        )

    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.setattr(gpus, "_LOOK_S", 0.1)
    yield write
    internal_kv._internal_kv_del(GCS_AUTOSCALER_CLUSTER_CONFIG_KEY, namespace=GCS_AUTOSCALER_STATE_NAMESPACE)


def test_a_machine_without_gpus_is_refused_at_once(cluster):
    with pytest.raises(ValueError, match="device=cuda: GPUs needed: 2, found: 0 on this machine; set device=auto"):
        find_nodes("cuda", 2, 60)
    assert [(node.cpus, node.gpus) for node in find_nodes("auto", 2, 60)] == [(4.0, 0.0)]


def test_a_cluster_that_cannot_grow_far_enough_is_refused_at_once(growing):
    growing(0)
    with pytest.raises(ValueError, match="GPUs needed: 1, found: 0; the cluster may grow to 0; set device"):
        find_nodes("cuda", 1, 60)
    growing(2)
    with pytest.raises(ValueError, match="may grow to 4"):
        find_nodes("cuda", 5, 60)


@pytest.mark.parametrize("nodes", [-1, 2])
def test_a_cluster_that_may_grow_is_waited_for(growing, capsys, nodes):
    growing(nodes)
    with pytest.raises(NoGpus, match=r"GPUs needed: 4, found after patience_s=0\.3: 0; the same command tries again"):
        find_nodes("cuda", 4, 0.3)
    assert "waiting up to 0.3 s for GPUs: needed: 4, found: 0" in capsys.readouterr().err


JOIN = """
import threading, os
import ray
from ray.cluster_utils import Cluster
from herbray.flow.cluster.gpus import find_nodes

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
ray.init(address=cluster.address)
os.environ["RAY_ADDRESS"] = cluster.address
threading.Timer(1, cluster.add_node, kwargs={"num_cpus": 2, "num_gpus": 1}).start()
print(find_nodes("cuda", 1, 300))
print(find_nodes("cpu", 1, 300))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.long
def test_a_node_with_gpus_that_joins_ends_the_wait():
    """The node only claims its GPU, as Ray allows; nothing computes on it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_ADDRESS")}
    done = subprocess.run([sys.executable, "-c", JOIN], env=environment, capture_output=True, text=True, timeout=500)
    assert done.stdout.splitlines()[-2:] == [
        "[Node(cpus=1.0, gpus=0.0), Node(cpus=2.0, gpus=1.0)]",
        "[Node(cpus=1.0, gpus=0.0), Node(cpus=2.0, gpus=0.0)]",
    ], done.stderr[-1000:]


def test_a_process_without_a_gpu_refuses_cuda():
    assert choose_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device=cuda: torch finds no GPU on this machine"):
            choose_device("cuda")

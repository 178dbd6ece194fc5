"""The process group of training workers in a cluster that listens on the loopback interface only."""

import os
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import psutil
import ray
import torch.distributed as dist
from ray.train.backend import Backend
from ray.train.torch import TorchConfig
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # its stub does not list it

from herbray.flow.cluster.local import HOST

_LEAVE_S: Final = 30.0


def process_group_config(timeout_s: int) -> TorchConfig:
    """Settings of the process group of this cluster's workers; a worker waits `timeout_s` seconds for the others.

    With Ray's own settings, torch's store listens on every interface, and anyone who reaches it can read and change it.
    """
    kind = LoopbackConfig if _node_address() == HOST else TorchConfig
    return kind(backend=None, timeout_s=timeout_s)


@dataclass
class LoopbackConfig(TorchConfig):
    """Settings for workers that all run on this machine."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The class that sets up the process group."""
        return _Loopback


class _Loopback(Backend):
    """Sets up and destroys the process group on the loopback interface."""

    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:  # noqa: ANN401
        """Make all workers join one group."""
        port, size = worker_group.execute_single(0, _free_port), len(worker_group)
        settings = size, port, backend_config.backend, backend_config.timeout_s  # Ray has chosen the backend by now
        ray.get([worker_group.execute_single_async(rank, join_group, rank, *settings) for rank in range(size)])

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:  # noqa: ANN401
        """Destroy the group. A worker that hangs is stopped by Ray."""
        ray.wait(worker_group.execute_async(_leave_group), num_returns=len(worker_group), timeout=_LEAVE_S)


def join_group(rank: int, size: int, port: int, backend: str, timeout_s: float) -> None:
    """Join a group of `size` processes on this machine; rank 0 listens on `port`."""
    interface = _loopback_interface()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    wait = timedelta(seconds=timeout_s)
    listener = socket.create_server((HOST, port)).detach() if rank == 0 else None
    store = TCPStore(HOST, port, size, rank == 0, wait, master_listen_fd=listener)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)


def _node_address() -> str:
    """The address of this process's node in its cluster."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


def _loopback_interface() -> str:
    """The name of the loopback interface: lo on Linux, lo0 on macOS."""
    interfaces = psutil.net_if_addrs()
    return next(name for name, each in interfaces.items() if any(address.address == HOST for address in each))

"""The process group of training workers of a cluster that listens on the loopback interface alone."""

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
    """How the workers of this cluster meet; `timeout_s` is how long one waits for the others.

    Ray's way lets torch's store listen on every interface, and anyone who reaches it can read and change it.
    """
    kind = LoopbackConfig if _node_address() == HOST else TorchConfig
    return kind(backend=None, timeout_s=timeout_s)


@dataclass
class LoopbackConfig(TorchConfig):
    """Of workers that are all on this machine."""

    @property
    def backend_cls(self) -> type[Backend]:
        """What sets their group up."""
        return _Loopback


class _Loopback(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:  # noqa: ANN401
        """Join all workers to one group."""
        port, size = worker_group.execute_single(0, _free_port), len(worker_group)
        settings = size, port, backend_config.backend, backend_config.timeout_s  # Ray has chosen the backend by then
        ray.get([worker_group.execute_single_async(rank, join_group, rank, *settings) for rank in range(size)])

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:  # noqa: ANN401
        """Take the group apart; a worker that hangs is ended by Ray."""
        ray.wait(worker_group.execute_async(_leave_group), num_returns=len(worker_group), timeout=_LEAVE_S)


def join_group(rank: int, size: int, port: int, backend: str, timeout_s: float) -> None:
    """Join the group of `size` processes of this machine that meet at `port`."""
    interface = _loopback_interface()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    wait = timedelta(seconds=timeout_s)
    listener = socket.create_server((HOST, port)).detach() if rank == 0 else None
    store = TCPStore(HOST, port, size, rank == 0, wait, master_listen_fd=listener)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)


def _node_address() -> str:
    """Address under which this process's node is known to its cluster."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


def _loopback_interface() -> str:
    """Its name: lo on Linux, lo0 on macOS."""
    return next(name for name, own in psutil.net_if_addrs().items() if any(each.address == HOST for each in own))

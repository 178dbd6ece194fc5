import contextlib
import os
import stat

import psutil
import pytest

from herbray.exit_codes import Unreachable
from herbray.flow.cluster import local, loopback_group


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_token_is_created_once_and_only_for_its_owner(home):
    local._make_private_token()
    path = home / ".ray" / "auth_token"
    token = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(token) == 64
    local._make_private_token()
    assert path.read_text() == token


def test_no_token_is_created_if_one_is_given(home, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    local._make_private_token()
    assert not (home / ".ray").exists()


@pytest.mark.parametrize(
    ("message", "kind", "told"),
    [
        ("The current node timed out during startup.", Unreachable, "this machine is busy"),
        ("no such option", RuntimeError, "no such option"),
    ],
)
def test_a_machine_too_busy_to_start_ray_is_worth_another_try(message, kind, told):
    with pytest.raises(kind, match=told), local._explain_slow_start():
        raise RuntimeError(message)


def rank_class():
    """A training worker's part of a group; defined here, so that it is pickled by value."""

    class Rank:
        """A training worker's part of a group."""

        def join(self, rank, port):
            loopback_group.join_group(rank, 2, port, "gloo", 60)

        def sum(self):
            import torch

            torch.distributed.all_reduce(ones := torch.ones(3))
            return ones.tolist()

        def leave(self):
            loopback_group._leave_group()

    return Rank


def listening():
    """Child processes that listen on a port, with the address of each."""
    found = set()
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            name = process.name()
            sockets = process.net_connections(kind="tcp")
            found |= {
                (name, each.laddr.ip.removeprefix("::ffff:")) for each in sockets if each.status == psutil.CONN_LISTEN
            }
    return found


def test_no_process_of_a_cluster_here_listens_beyond_the_loopback_interface(cluster):
    ranks = [cluster.remote(num_cpus=1)(rank_class()).remote() for _ in range(2)]
    port = loopback_group._free_port()
    cluster.get([rank.join.remote(number, port) for number, rank in enumerate(ranks)])
    assert cluster.get([rank.sum.remote() for rank in ranks]) == [[2.0, 2.0, 2.0]] * 2
    found = listening()
    cluster.get([rank.leave.remote() for rank in ranks])
    assert {ip for _, ip in found} == {"127.0.0.1"}, found
    assert {"gcs_server", "raylet"} <= {name for name, _ in found}
    assert len(found) >= 6, found  # also the dashboard, its agents, workers and this process
    assert local.ray_constants.ENABLE_RAY_CLUSTER
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ

"""Fetching on a cluster: hosts are dealt to tasks, and one actor grants the turns of every host."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import ray

from herbray.data.web.hosts import Conduct, Done, HostImages, fetch_hosts
from herbray.data.web.turns import Turn, Turns
from herbray.flow.cluster import connection

_MAX_WAITING: Final = 10_000  # requests that wait for a turn at the same time


class _RemoteTurns:
    """Takes turns from the actor (`herbray.data.web.turns.TurnKeeper`)."""

    def __init__(self, actor: Any) -> None:  # noqa: ANN401  (Ray's handle)
        self._actor = actor

    async def take(self, host: str) -> Turn:
        turn: Turn = await _result(self._actor.take.remote(host))
        return turn

    async def give_back(self, host: str, number: int, trouble: str, wait_s: float) -> None:
        await _result(self._actor.give_back.remote(host, number, trouble, wait_s))

    async def slow_down(self, host: str, seconds: float) -> None:
        await _result(self._actor.slow_down.remote(host, seconds))


async def _result(ref: Any) -> Any:  # noqa: ANN401  (what the actor returns)
    return await asyncio.wrap_future(ref.future())


def _fetch_group(out: str, group: int, work: Sequence[HostImages], conduct: Conduct, actor: Any) -> Iterator[Done]:  # noqa: ANN401
    yield from fetch_hosts(Path(out), group, work, conduct, _RemoteTurns(actor))


def fetch_on_ray(out: Path, groups: Sequence[Sequence[HostImages]], conduct: Conduct) -> Iterator[Done]:
    """Fetch each group of hosts in a task of its own; yield, again and again, how much is done.

    A redirect may lead to a host of another task: one actor grants the turns, so that all tasks together keep the pace.

    Raises:
        ValueError: see `connection.fetch_result`.
    """
    keeper: Any = ray.remote(Turns)
    actor = keeper.options(num_cpus=0, max_concurrency=_MAX_WAITING).remote(conduct.pace, conduct.hosts, conduct.limits)
    fetch = ray.remote(num_cpus=1, max_retries=3, num_returns="streaming", scheduling_strategy="SPREAD")(_fetch_group)
    place = str(out.absolute())
    streams: list[Any] = [fetch.remote(place, number, work, conduct, actor) for number, work in enumerate(groups)]
    while streams:
        ready: list[Any] = ray.wait(streams, num_returns=1)[0]
        for stream in ready:
            try:
                yield connection.fetch_result(next(stream))
            except StopIteration:
                streams.remove(stream)

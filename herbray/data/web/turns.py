"""Whose request may go to a host, and when: the one place that knows pace and health of every host."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from herbray.data.web.settings import Limits, Pace

_LEASE_MARGIN_S: Final = (
    30.0  # a turn that is not given back, because its process died, ends this much after its request
)


@dataclass(frozen=True)
class Turn:
    """A turn at a host.

    Attributes:
        number: to give it back.
        refusal: why the run gives the host up; empty: the turn is granted.
    """

    number: int
    refusal: str = ""


class TurnKeeper(Protocol):
    """Grants turns: `Turns`, in this process or in another one."""

    async def take(self, host: str) -> Turn:
        """Wait for a turn."""

    async def give_back(self, host: str, number: int, trouble: str, wait_s: float) -> None:
        """End a turn."""

    async def slow_down(self, host: str, seconds: float) -> None:
        """Wait at least so long between two requests to a host."""


@dataclass
class _Host:
    interval_s: float
    concurrency: int
    next_at: float
    opened_at: float = 0.0
    failures: int = 0
    pauses: int = 0
    refusal: str = ""
    taken: dict[int, float] = field(default_factory=dict)
    """Number of a turn → when it began."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class Turns:
    """Grants turns at hosts: at most `pace.rate` a second and `pace.concurrency` at once for each of them.

    A host that fails `limits.failures` times in a row is left alone for `limits.pause_s`, then tried by one request a
    time; each further failure doubles the pause. After `limits.pauses` pauses it is given up. The first request comes
    one interval after the start, so that a job that is killed and started again keeps the pace too.
    """

    def __init__(self, pace: Pace, hosts: Mapping[str, Pace], limits: Limits) -> None:
        """Grant turns; `hosts` have another pace."""
        self._pace, self._paces, self._limits = pace, hosts, limits
        self._hosts: dict[str, _Host] = {}
        self._numbers = itertools.count()

    async def take(self, host: str) -> Turn:
        """Wait for a turn at a host; give it back even if the request fails."""
        state = self._find(host)
        async with state.changed:
            while not state.refusal and (wait_s := self._wait_s(state)) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(state.changed.wait(), wait_s)
            if state.refusal:
                return Turn(-1, state.refusal)
            now, number = time.monotonic(), next(self._numbers)
            state.next_at, state.taken[number] = now + state.interval_s, now
            return Turn(number)

    async def give_back(self, host: str, number: int, trouble: str, wait_s: float) -> None:
        """End a turn.

        Args:
            host: whose turn it was.
            number: of the turn.
            trouble: what went wrong at the host; empty: nothing.
            wait_s: seconds that the host asks to wait.
        """
        state, now = self._find(host), time.monotonic()
        async with state.changed:
            began = state.taken.pop(number, None)
            if not trouble:
                state.failures = state.pauses = 0
            elif began is not None and began >= state.opened_at:  # else it belongs to the failures before the pause
                self._count_failure(state, trouble, now)
            if wait_s > self._limits.max_wait_s:
                state.refusal = f"it asks to wait {wait_s:,.0f} s, more than limits.max_wait_s"
            elif wait_s:
                state.next_at = max(state.next_at, now + wait_s)
            state.changed.notify_all()

    async def slow_down(self, host: str, seconds: float) -> None:
        """Wait at least so long between two requests to a host, as its robots.txt asks."""
        state = self._find(host)
        state.next_at += max(0.0, seconds - state.interval_s)
        state.interval_s = max(state.interval_s, seconds)

    def _find(self, host: str) -> _Host:
        if host not in self._hosts:
            pace = self._paces.get(host, self._pace)
            self._hosts[host] = _Host(1 / pace.rate, pace.concurrency, time.monotonic() + 1 / pace.rate)
        return self._hosts[host]

    def _wait_s(self, state: _Host) -> float:
        """Seconds until a host may have another request; 0: now."""
        now, lease = time.monotonic(), self._limits.seconds + _LEASE_MARGIN_S
        for number in [number for number, began in state.taken.items() if began + lease < now]:
            del state.taken[number]
        allowed = 1 if state.failures >= self._limits.failures else state.concurrency
        if len(state.taken) >= allowed:
            return max(0.001, min(state.taken.values()) + lease - now)
        return state.next_at - now

    def _count_failure(self, state: _Host, trouble: str, now: float) -> None:
        state.failures += 1
        if state.failures < self._limits.failures:
            return
        if state.pauses >= self._limits.pauses:
            state.refusal = f"it failed {state.failures} times in a row, last: {trouble}"
            return
        state.next_at = max(state.next_at, now + self._limits.pause_s * 2**state.pauses)
        state.opened_at = now
        state.pauses += 1

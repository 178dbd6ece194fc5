"""The images of some hosts, fetched by one process: one queue a host, many hosts side by side."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from herbray.data.web.addresses import Network
from herbray.data.web.client import Client
from herbray.data.web.download import Downloader
from herbray.data.web.failure import NotFetched
from herbray.data.web.records import Journal, Record, new_name, read_records
from herbray.data.web.settings import Limits, Pace
from herbray.data.web.turns import TurnKeeper

JOURNALS: Final = "journal"
"""Folder of the journals, in that of the images."""

_MAX_HOSTS: Final = 32  # side by side in a process; each may hold an image in memory
_REPORT_S: Final = 1.0

Done = dict[str, int]
"""Host → images that are settled: fetched or refused."""


@dataclass(frozen=True)
class HostImages:
    """The images of one host.

    Attributes:
        host: its name; empty for addresses that cannot be read.
        images: addresses, as the catalogue has them.
        known: what earlier runs did: of fetched ones, the server is only asked whether they have changed.
    """

    host: str
    images: tuple[str, ...]
    known: Mapping[str, Record] = field(default_factory=dict)


@dataclass(frozen=True)
class Conduct:
    """How images are asked for.

    Attributes:
        agent: the header User-Agent.
        pace: of requests to a host.
        hosts: host → another pace.
        limits: on requests.
        side: pixels of the short side that are wanted of IIIF images; 0: as the address says.
        networks: that may be asked although they are not public.
        since: name of a journal that starts with the run: images in later ones are settled.
    """

    agent: str
    pace: Pace
    hosts: Mapping[str, Pace]
    limits: Limits
    side: int
    networks: tuple[Network, ...]
    since: str = field(default_factory=lambda: new_name(0))


def fetch_hosts(
    out: Path, group: int, work: Sequence[HostImages], conduct: Conduct, turns: TurnKeeper
) -> Iterator[Done]:
    """Fetch the images of some hosts into a folder; go on where another process of this run has stopped.

    Args:
        out: the folder.
        group: number of this process among those that fetch.
        work: the images; each host occurs once.
        conduct: how they are asked for.
        turns: of the hosts.

    Yields:
        About once a second, how much is done.

    Raises:
        OSError: the folder cannot be written.
    """
    loop = asyncio.new_event_loop()
    with Journal(out / JOURNALS, new_name(group)) as journal:
        run = _Run(out, conduct, turns, journal)
        task = loop.create_task(run.fetch(work))
        try:
            while not task.done():
                loop.run_until_complete(asyncio.wait([task], timeout=_REPORT_S))
                yield dict(run.done)
            task.result()
        except BaseExceptionGroup as group:
            raise _find_first(group) from None
        finally:
            loop.run_until_complete(_cancel_others())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


def _find_first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error in a group of groups."""
    first = group.exceptions[0]
    return _find_first(first) if isinstance(first, BaseExceptionGroup) else first


async def _cancel_others() -> None:
    """End everything that is going on in this loop."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Run:
    """The work of one process."""

    def __init__(self, out: Path, conduct: Conduct, turns: TurnKeeper, journal: Journal) -> None:
        self._out, self._conduct, self._turns, self._journal = out, conduct, turns, journal
        self._gate = asyncio.Semaphore(_MAX_HOSTS)
        self._known: dict[str, Record] = {}
        self.done: Done = {}

    async def fetch(self, work: Sequence[HostImages]) -> None:
        conduct = self._conduct
        async with (
            Client(conduct.agent, conduct.limits.seconds, conduct.networks) as client,
            asyncio.TaskGroup() as tasks,
        ):
            downloader = Downloader(client, self._turns, conduct.limits, conduct.side, self._out)
            settled = read_records(self._out / JOURNALS, conduct.since)
            for each in work:
                waiting = [image for image in each.images if image not in settled or settled[image].passing]
                self.done[each.host] = len(each.images) - len(waiting)
                self._known |= each.known
                tasks.create_task(self._fetch_host(each, waiting, downloader))

    async def _fetch_host(self, work: HostImages, waiting: Sequence[str], downloader: Downloader) -> None:
        limits = self._conduct.limits
        async with self._gate:
            for attempt in range(1, limits.attempts + 1):
                waiting = await self._fetch_all(work, waiting, downloader, is_last=attempt == limits.attempts)
                if not waiting:
                    return
                await asyncio.sleep(limits.pause_s * 2 ** (attempt - 1))

    async def _fetch_all(
        self, work: HostImages, images: Sequence[str], downloader: Downloader, is_last: bool
    ) -> Sequence[str]:
        """Fetch images of a host, as many at once as its pace allows; returns those to ask for again."""
        queue, again = iter(images), list[str]()

        async def fetch_next() -> None:
            for image in queue:
                known = self._known.get(image)
                before = known if known and not known.reason else None
                try:
                    record = await downloader.fetch(image, before)
                except NotFetched as error:
                    record = _choose_record(known, image, error)
                self._known[image] = record
                self._journal.append(record)
                if record.passing and not is_last:
                    again.append(image)
                else:
                    self.done[work.host] += 1

        async with asyncio.TaskGroup() as lanes:
            for _ in range(self._conduct.hosts.get(work.host, self._conduct.pace).concurrency):
                lanes.create_task(fetch_next())
        return again


def _choose_record(known: Record | None, image: str, error: NotFetched) -> Record:
    """The record of an image that did not come: what was fetched earlier is kept, or the better of two reasons."""
    if known and (not known.reason or error.reason == "host"):
        return known
    return Record(image, error.reason, str(error), error.is_passing)

"""What the fetch job prints: what it is going to ask for, and how far it is with each host."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from herbray.console.progress import format_duration
from herbray.data.web.hosts import Conduct, Done, HostImages
from herbray.flow.cluster import connection

_MAX_BARS: Final = 12  # hosts with a progress bar of their own
_OTHERS: Final = "other hosts"


def announce(work: Sequence[HostImages], conduct: Conduct) -> None:
    """Say how many images are asked for, and how long the slowest host will take."""
    rates = {each.host: conduct.hosts.get(each.host, conduct.pace).rate for each in work}
    slowest = max(work, key=lambda each: len(each.images) / rates[each.host])
    least = format_duration(len(slowest.images) / rates[slowest.host])
    connection.console.print(
        f"to fetch: {sum(len(each.images) for each in work):,} images, {len(work):,} hosts; {slowest.host or '?'} has "
        f"{len(slowest.images):,}, at {rates[slowest.host]:g} a second at least {least}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def show(updates: Iterator[Done], work: Sequence[HostImages], totals: Mapping[str, int]) -> None:
    """Show progress while the updates come: a bar for each of the largest hosts, and one for all others.

    Args:
        updates: how many images of each host are settled.
        work: images to ask for, hosts with most of them first.
        totals: host → all of its images, also those of earlier runs.
    """
    bar_of = {each.host: each.host if place < _MAX_BARS else _OTHERS for place, each in enumerate(work)}
    total = _sum_bars(totals, bar_of)
    begun = total - _sum_bars({each.host: len(each.images) for each in work}, bar_of)
    done: Done = {}
    with connection.progress() as bar:
        tasks = {}
        for name in dict.fromkeys(bar_of.values()):
            first = begun[name]
            tasks[name] = bar.add_task(name or "?", total=total[name], completed=first, begun=first, unit="image")
        for update in updates:
            done |= update
            for name, count in _sum_bars(done, bar_of).items():
                bar.update(tasks[name], completed=begun[name] + count)


def _sum_bars(counts: Mapping[str, int], bar_of: Mapping[str, str]) -> Counter[str]:
    """Bar → sum over its hosts."""
    sums = Counter[str]()
    for host, bar in bar_of.items():
        sums[bar] += counts.get(host, 0)
    return sums

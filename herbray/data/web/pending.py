"""Which images of a catalogue a run asks for, host by host."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from herbray.data.draws import draw_numbers
from herbray.data.web.addresses import host_of, read_url
from herbray.data.web.failure import NotFetched
from herbray.data.web.hosts import HostImages
from herbray.data.web.iiif import find_base
from herbray.data.web.records import Record


@dataclass(frozen=True)
class Again:
    """Which images are asked for again.

    Attributes:
        refused: also those that an earlier run refused for a reason that does not pass, such as 404.
        checked_before: fetched ones that were last checked before this time, in seconds since 1970.
        side: IIIF images that were fetched with a smaller short side, in pixels.
    """

    refused: bool
    checked_before: float
    side: int


def list_pending(
    images: Iterable[str], records: Mapping[str, Record], files: Mapping[str, int], again: Again
) -> list[HostImages]:
    """The images to ask for, hosts with most of them first.

    The images of a host come in an order drawn by hash, so that a folder of broken images does not look like a host in
    trouble; those that did not come earlier are the last.

    Args:
        images: addresses, each once.
        records: what earlier runs did.
        files: of fetched images, with their sizes.
        again: which are asked for again.
    """
    pending = [image for image in images if _is_pending(image, records.get(image), files, again)]
    known = {image: records[image] for image in pending if image in records}
    known = {image: record for image, record in known.items() if record.reason or is_fetched(record, files)}
    places = zip(
        (bool(known[i].reason) if i in known else False for i in pending),
        draw_numbers(0, "fetch", pending),
        strict=True,
    )
    by_host: defaultdict[str, list[str]] = defaultdict(list)
    for _, image in sorted(zip(places, pending, strict=True)):
        by_host[find_host(image)].append(image)
    found = [HostImages(host, tuple(each), {i: known[i] for i in each if i in known}) for host, each in by_host.items()]
    return sorted(found, key=lambda work: (-len(work.images), work.host))


def find_host(image: str) -> str:
    """The host of an image; empty if its address cannot be read."""
    try:
        return host_of(read_url(image))
    except NotFetched:
        return ""


def is_fetched(record: Record | None, files: Mapping[str, int]) -> bool:
    """Whether an image was fetched, and its file is still whole."""
    return record is not None and not record.reason and files.get(record.file) == record.bytes


def _is_pending(image: str, record: Record | None, files: Mapping[str, int], again: Again) -> bool:
    if record is None:
        return True
    if record.reason:
        return record.passing or again.refused
    if not is_fetched(record, files) or record.checked_at < again.checked_before:
        return True
    return record.side < again.side and find_base(image) is not None


def deal(work: list[HostImages], groups: int) -> list[list[HostImages]]:
    """Deal hosts to processes, so that each has about as many images; a host is never divided."""
    dealt: list[list[HostImages]] = [[] for _ in range(min(groups, len(work)))]
    sizes = [0] * len(dealt)
    for each in work:
        least = sizes.index(min(sizes))
        dealt[least].append(each)
        sizes[least] += len(each.images)
    return dealt

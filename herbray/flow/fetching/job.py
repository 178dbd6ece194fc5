"""The fetch job: the images of a catalogue that are on the web → a folder of files, which the shard job reads."""

import ipaddress
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import ray
from pydantic import Field, field_validator

from herbray import __version__, schema, storage
from herbray.config import Spec
from herbray.data import catalogue
from herbray.data.catalogue import QuarantineLimit
from herbray.data.web import fetched, records
from herbray.data.web.hosts import JOURNALS, Conduct, Done, HostImages, fetch_hosts
from herbray.data.web.pending import Again, deal, find_host, is_fetched, list_pending
from herbray.data.web.records import Record
from herbray.data.web.settings import Limits, Pace, name_agent
from herbray.data.web.turns import Turns
from herbray.exit_codes import Unreachable
from herbray.flow.cluster import connection
from herbray.flow.fetching.on_ray import fetch_on_ray
from herbray.flow.fetching.progress import announce, show

_DAY_S: Final = 86_400


class Fetch(Spec):
    """The fetch job. Reads a catalogue folder, writes a folder of images."""

    catalogue: Path = Field(
        Path("runs/catalogue"), description="folder of the catalogue, written by `herbray catalogue`"
    )
    out: Path = Field(
        Path("runs/images"), description="folder that receives the images; several catalogues may share one"
    )
    contact: str = Field(
        description="your e-mail address or web page: the header User-Agent tells it to the owners of the servers"
    )
    pace: Pace = Pace()
    hosts: dict[str, Pace] = Field(
        {}, description="host → another pace, as agreed with its owner, e.g. `{images.herbarium.org: {rate: 5}}`"
    )
    limits: Limits = Limits()
    side: int = Field(
        512,
        ge=0,
        le=8192,
        description="pixels of the short side that are asked of IIIF servers; twice the `side` of the shards keeps "
        "their quality; 0: the size that the catalogue names",
    )
    networks: tuple[str, ...] = Field(
        (),
        description="networks that may be asked although they are not on the public internet, e.g. `[10.1.0.0/16]` for "
        "a server of your own institution",
    )
    retry_refused: bool = Field(
        False, description="also ask for images that an earlier run refused for a reason that does not pass, as 404"
    )
    check_after_days: float | None = Field(
        None, ge=0, description="ask whether images have changed that were last checked so many days ago; null: never"
    )
    workers: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="Ray tasks to which hosts are dealt; 0 fetches in this process, without Ray; null: one task per "
        "node of the cluster in RAY_ADDRESS, without a cluster this process",
    )
    max_quarantined: float = Field(0.05, ge=0, le=1, description="the job fails if a larger share of images is refused")

    @field_validator("networks")
    @classmethod
    def _check_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for each in networks:
            ipaddress.ip_network(each)  # its errors say what is wrong
        return networks


def fetch(spec: Fetch) -> dict[str, Any]:
    """Fetch the images that the folder lacks, and return the manifest.

    Raises:
        ValueError: `contact` cannot be used, the catalogue cannot be read, or the nodes do not share the folder.
        QuarantineLimit: too many images were refused.
        Unreachable: too many images did not come for a passing reason; the same command asks for them again.
    """
    networks = tuple(map(ipaddress.ip_network, spec.networks))
    conduct = Conduct(name_agent(spec.contact), spec.pace, _lower(spec.hosts), spec.limits, spec.side, networks)
    images, others = _list_images(catalogue.read(spec.catalogue))
    storage.make_folder(spec.out)
    storage.remove(spec.out / fetched.MANIFEST_FILE)  # written last: a folder without a manifest is not finished
    known = records.read_records(spec.out / JOURNALS)
    work = list_pending(images, known, fetched.list_files(spec.out), _again(spec))
    if work:
        announce(work, conduct)
        show(_run(spec, work, conduct), work, Counter(map(find_host, images)))
    return _finish(spec, images, others)


def _list_images(table: pa.Table) -> tuple[dict[str, str], int]:
    """The images on the web, each with the first specimen that it shows; and the number of other images."""
    is_on_web = fetched.find_web_images(table["image"])
    images: dict[str, str] = {}
    for image, specimen in zip(
        *table.filter(is_on_web).select(["image", "specimen_id"]).to_pydict().values(), strict=True
    ):
        images.setdefault(image, specimen)
    return images, pc.count_distinct(table["image"]).as_py() - len(images)


def _lower(hosts: Mapping[str, Pace]) -> dict[str, Pace]:
    return {name.lower().rstrip("."): pace for name, pace in hosts.items()}


def _again(spec: Fetch) -> Again:
    before = 0.0 if spec.check_after_days is None else time.time() - spec.check_after_days * _DAY_S
    return Again(spec.retry_refused, before, spec.side)


def _run(spec: Fetch, work: list[HostImages], conduct: Conduct) -> Iterator[Done]:
    """Fetch in this process or on a cluster; yield how much is done."""
    workers = spec.workers
    if workers == 0 or (workers is None and not os.environ.get("RAY_ADDRESS") and not ray.is_initialized()):
        yield from fetch_hosts(spec.out, 0, work, conduct, Turns(conduct.pace, conduct.hosts, conduct.limits))
        return
    with connection.connect():
        nodes = sum(node.cpus > 0 for node in connection.living_nodes())
        yield from fetch_on_ray(spec.out, deal(work, workers or max(1, nodes)), conduct)


def _finish(spec: Fetch, images: Mapping[str, str], others: int) -> dict[str, Any]:
    """Write the tables and the manifest, and return it."""
    files = fetched.list_files(spec.out)
    found = records.read_records(spec.out / JOURNALS)
    known = {image: record for image, record in found.items() if record.reason or is_fetched(record, files)}
    ours = {image: known[image] for image in images if image in known}
    refused = [record for record in ours.values() if record.reason]
    counts = {
        "images": len(images) + others,
        "fetched": len(ours) - len(refused),
        "quarantined": len(refused),
        "skipped": others,
    }
    if counts["images"] != counts["fetched"] + counts["quarantined"] + counts["skipped"]:
        lost = next(image for image in images if image not in ours)
        raise ValueError(
            f"{spec.out}: {len(images) - len(ours):,} images were asked for, but left no trace, e.g. {lost:.200}: "
            "the nodes of the cluster do not share this folder; set out to a folder on storage that all nodes share"
        )
    records.compact(spec.out / JOURNALS, known.values())
    fetched.remove_files(spec.out, files.keys() - {record.file for record in known.values()})
    fetched.write_tables(spec.out, known, [fetched.make_refusal(each, images[each.image]) for each in refused])
    reasons = dict(Counter(record.reason for record in refused).most_common())
    manifest = {
        "table": "images",
        "schema_version": schema.VERSION,
        "herbray": __version__,
        "source": catalogue.read_manifest(spec.catalogue).get("source"),
        "counts": counts,
        "reasons": reasons,
        "bytes": sum(record.bytes for record in ours.values()),
        "notes": list(_describe_repeated(ours)),
    }
    storage.write_note(spec.out / fetched.MANIFEST_FILE, manifest)
    _check_quarantine(spec, len(images), refused, reasons)
    return manifest


def _describe_repeated(ours: Mapping[str, Record]) -> Iterator[str]:
    """What looks like a placeholder: one image at many addresses."""
    files = Counter(record.file for record in ours.values() if not record.reason)
    repeated = [(file, count) for file, count in files.most_common() if count > 1]
    if repeated:
        yield (
            f"images that came from more than one address: {len(repeated):,}, such as {repeated[0][0]} from "
            f"{repeated[0][1]:,}: look whether it is a placeholder"
        )


def _check_quarantine(spec: Fetch, total: int, refused: Sequence[Record], reasons: Mapping[str, int]) -> None:
    """Say what was refused, and fail if it is too much."""
    if not refused:
        return
    counted = ", ".join(f"{reason} {count:,}" for reason, count in reasons.items())
    found = f"{len(refused):,} of {total:,} images: {counted}; each is listed in {spec.out / 'quarantine.parquet'}"
    allowed = spec.max_quarantined * total
    if len(refused) <= allowed:
        connection.print_left_out([found])
    elif len(refused) - sum(each.passing for each in refused) <= allowed:
        raise Unreachable(f"not fetched: {found}. Most may come another time: run the same command again later")
    else:
        raise QuarantineLimit(f"refused: {found}; a larger max_quarantined than {spec.max_quarantined:g} accepts them")

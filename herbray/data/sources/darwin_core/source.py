"""The source `darwin_core`: archives and downloads of GBIF, iDigBio, Symbiota and other publishers."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import Field

from herbray import schema, storage
from herbray.data.sources.base import Account, Refuse, SourceSpec
from herbray.data.sources.darwin_core.archive.citation import read_citation
from herbray.data.sources.darwin_core.archive.container import Container, open_container
from herbray.data.sources.darwin_core.archive.descriptor import check_encoding, with_encoding
from herbray.data.sources.darwin_core.archive.kind import read_layout
from herbray.data.sources.darwin_core.archive.layout import Layout
from herbray.data.sources.darwin_core.catalogue_rows import SharedImages, emit_rows
from herbray.data.sources.darwin_core.ledger import Ledger
from herbray.data.sources.darwin_core.local_images import stage_folder
from herbray.data.sources.darwin_core.specimens import Collector, SeveralImages, fold_basis
from herbray.data.sources.darwin_core.staging import Staging
from herbray.data.sources.darwin_core.tables import stage_tables

RIGHTS: Final = "rights"
"""Name of the table of rights that accompanies the catalogue."""

_MAX_LICENSES: Final = 100  # listed in the manifest


class DarwinCore(SourceSpec):
    """Specimens of a Darwin Core Archive, a GBIF download (SIMPLE_CSV, SIMPLE_PARQUET) or a Darwin Core Data Package.

    The archive is read in place, as a zip file or unpacked. Images are files in the archive, files in `images`, or
    addresses on the web, which herbray lists but does not fetch.

    Attributes:
        path: the downloaded zip file, the folder into which it was unpacked, or a single table.
        images: folder of image files, found by the file name in the archive, the catalogue number or the id of the
            record; records without such a file are left out. Without it, images are those that the archive names.
        several_images: which images of a specimen are used; `largest` by the declared pixels, else by the file's bytes.
        shared_images: "first" keeps an image that specimens of one name share for the first of them, and refuses it for
            specimens of different names; "refuse" refuses it for all; "all" keeps it for all, in one gathering.
        basis: kinds of records to keep, e.g. `[PreservedSpecimen]`; empty for all.
        encoding: of the text, instead of the one that the archive declares; empty for the declared one.
    """

    name: Literal["darwin_core"] = "darwin_core"
    path: Path
    images: Path | None = None
    several_images: SeveralImages = "first"
    shared_images: SharedImages = "first"
    basis: tuple[str, ...] = Field(default=())
    encoding: str = ""

    @property
    def root(self) -> Path:
        """The folder of images, else the unpacked archive, else the folder in which the archive lies."""
        place = (self.images or self.path).resolve()
        return place if place.is_dir() else place.parent

    def read(self, refuse: Refuse, account: Account | None = None) -> Iterator[pa.RecordBatch]:
        """Stream the archive; see `SourceSpec.read`.

        Every row of every table that is read is used, left out for a reason that the account counts, or refused. The
        reasons are listed in the how-to guide on archives.

        Raises:
            ValueError: the archive is damaged, hostile, of another kind, or not as it declares.
        """
        for name in ("path", "images"):
            if (place := getattr(self, name)) is not None and storage.is_remote(place):
                raise ValueError(f"source.{name}: archives are read on a disk: download it, and give its absolute path")
        account = account if account is not None else Account()
        ledger = Ledger(refuse)
        rights: list[pa.RecordBatch] = []
        licenses: dict[str, Counter[str]] = {"media": Counter(), "record": Counter()}
        with open_container(self.path) as box, Staging() as staging:
            layout = self._read_layout(box)
            account.facts |= _describe(box, layout)
            stage_tables(box, layout, staging, ledger)
            collector = self._make_collector(box, layout, staging, ledger)
            staging.add_rows(collector.collect())
            yield from emit_rows(staging, layout.core.name, self.shared_images, ledger, rights, licenses)
            for core, image, source, line in staging.iterate_orphans():
                ledger.refuse(source, line, "orphan", f"there is no record {core!r:.100} for this image", None, image)
        ledger.check()
        account.skipped.update(ledger.tally(layout.core.name).left_out)
        account.tables[RIGHTS] = pa.Table.from_batches(rights, schema.RIGHTS).unify_dictionaries()
        account.facts |= {name: dict(count.most_common(_MAX_LICENSES)) for name, count in _name(licenses)}
        account.facts |= {"files": {name: tally.describe() for name, tally in ledger.named()}}
        account.facts |= {name: count for name, count in sorted(collector.counts.items()) if count}

    def _read_layout(self, box: Container) -> Layout:
        layout = read_layout(box)
        return with_encoding(layout, check_encoding(self.path, self.encoding)) if self.encoding else layout

    def _make_collector(self, box: Container, layout: Layout, staging: Staging, ledger: Ledger) -> Collector:
        if self.images is not None:
            stage_folder(self.images, staging)
        return Collector(
            box=box,
            layout=layout,
            staging=staging,
            ledger=ledger,
            several=self.several_images,
            basis=frozenset(map(fold_basis, self.basis)),
            has_folder=self.images is not None,
        )


def _describe(box: Container, layout: Layout) -> dict[str, Any]:
    """What the manifest says about an archive before its rows are read."""
    found = read_citation(box, layout)
    facts = {
        "kind": layout.kind,
        "doi": found.doi,
        "title": found.title,
        "citation": found.text,
        "rights": found.license,
        "unread": list(layout.unread)[:_MAX_LICENSES],
        "absent": list(layout.absent),
    }
    return {name: value for name, value in facts.items() if value}


def _name(licenses: dict[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    return [(f"{owner}_licenses", count) for owner, count in licenses.items()]

"""A database on disk in which the tables of an archive are joined: memory does not grow with the archive."""

import errno
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

from herbray.data.sources.darwin_core.media import Media

MAX_IMAGES: Final = 1000
"""Of one specimen; more mean a broken archive."""

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -65536;
CREATE TABLE media (core, image, thumbnail, pixels, license, license_text, rights_holder, source, line);
CREATE TABLE links (core, media, source, line);
CREATE TABLE matched (core PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE verbatim (core PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE facts (kind, key, terms, PRIMARY KEY (kind, key)) WITHOUT ROWID;
CREATE TABLE files (key, path);
CREATE TABLE rows (specimen, image, rank, name, record, line, media_source, media_line, cells);
"""
_JOIN: Final = """
CREATE INDEX media_core ON media (core);
CREATE TABLE joined AS SELECT links.core, image, thumbnail, pixels, license, license_text, rights_holder,
  media.source, media.line FROM links JOIN media ON media.core = links.media ORDER BY links.rowid;
CREATE INDEX links_media ON links (media);
"""


class StagedMedia(NamedTuple):
    """An image, with its table and line."""

    media: Media
    source: str
    line: int


class StagedRow(NamedTuple):
    """A row of the catalogue, before it is known which images belong to several specimens.

    Attributes:
        specimen: its id.
        image: path or address.
        rank: how the image was found: 0 by its name or address, 1 by the catalogue number, 2 by the record's id.
        name: of the taxon, to compare specimens on one image.
        record: number of the core row, from 1.
        line: of the core row in its file.
        media_source: table of the image; empty: the core table.
        media_line: line in it.
        cells: further values, see `specimens.CELLS`.
        names: if the image belongs to several specimens, the number of their different names, else 0. Specimens count
            whose rank is the lowest.
        is_later: an earlier row of these, or any of them if this row has a higher rank, has the image.
        is_weaker: this row has a higher rank.
        is_duplicate: an earlier record has the specimen's id.
    """

    specimen: str
    image: str
    rank: int
    name: str
    record: int
    line: int
    media_source: str
    media_line: int
    cells: Sequence[str | None]
    names: int = 0
    is_later: bool = False
    is_weaker: bool = False
    is_duplicate: bool = False


class Staging:
    """The database, in a temporary folder that is removed at the end. `TMPDIR` says where temporary folders are."""

    def __init__(self) -> None:
        """Make the folder and an empty database."""
        self._folder = tempfile.TemporaryDirectory(prefix="herbray-darwin-core-")
        self._database = sqlite3.connect(Path(self._folder.name, "staging.sqlite"), isolation_level=None)
        self._run(_SCHEMA)

    def __enter__(self) -> "Staging":
        """Return the staging."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the folder."""
        self._database.close()
        self._folder.cleanup()

    def add_media(self, items: Iterable[tuple[str, Media, str, int]]) -> None:
        """Add images: id of the core row or, in a data package, of the image; the image; its table and line."""
        self._fill("media", 9, ((core, *_cells(media), source, line) for core, media, source, line in items))

    def add_links(self, items: Iterable[tuple[str, str, str, int]]) -> None:
        """Add pairs of a core row's id and an image's id, with their table and line."""
        self._fill("links", 4, items)

    def join_links(self) -> tuple[list[tuple[str, int, str]], int]:
        """Give each image the id of its core row.

        Returns:
            Table, line and image's id of links to an image that is not there; the number of images without a link.
        """
        with self._named():
            self._run(_JOIN)
            dangling = self._database.execute(
                "SELECT source, line, media FROM links WHERE media NOT IN (SELECT core FROM media) LIMIT 300000"
            ).fetchall()
            (unlinked,) = self._database.execute(
                "SELECT count(*) FROM media WHERE core NOT IN (SELECT media FROM links)"
            ).fetchone()
            self._run("DROP TABLE media; ALTER TABLE joined RENAME TO media;")
        return dangling, unlinked

    def count_rows(self) -> int:
        """The number of images."""
        (count,) = self._database.execute("SELECT count(*) FROM media").fetchone()
        return int(count)

    def add_verbatim(self, cores: Iterable[str]) -> None:
        """Add ids of core rows for which the publisher named images."""
        self._fill("verbatim", 1, ((core,) for core in cores))

    def add_facts(self, kind: str, items: Iterable[tuple[str, dict[str, str]]]) -> None:
        """Add terms that complete core rows, by the id that a core row has for them; the first of an id counts."""
        self._fill("facts", 3, ((kind, key, json.dumps(terms)) for key, terms in items))

    def add_files(self, items: Iterable[tuple[str, str]]) -> int:
        """Add keys and paths of files; return how many files there are."""
        self._fill("files", 2, items)
        with self._named():
            self._database.execute("CREATE INDEX files_key ON files (key)")
            (count,) = self._database.execute("SELECT count(DISTINCT path) FROM files").fetchone()
        return int(count)

    def add_rows(self, items: Iterable[StagedRow]) -> None:
        """Add rows of the catalogue."""
        self._fill("rows", 9, ((*item[:8], json.dumps(item.cells)) for item in items))

    def index_media(self) -> None:
        """Prepare `find_media`."""
        with self._named():
            self._database.execute("CREATE INDEX IF NOT EXISTS media_core ON media (core)")

    def find_media(self, core: str) -> list[StagedMedia] | None:
        """The images of a core row, one more than `MAX_IMAGES` at most; None if an earlier row had this id."""
        found = self._database.execute("SELECT * FROM media WHERE core = ? LIMIT ?", (core, MAX_IMAGES + 1)).fetchall()
        if not found:
            return []
        with self._named():
            new = self._database.execute("INSERT OR IGNORE INTO matched VALUES (?)", (core,)).rowcount
        return [StagedMedia(_media(cells), cells[7], cells[8]) for cells in found] if new else None

    def count_media(self, core: str) -> dict[str, int]:
        """The number of images of a core row in each table."""
        found = self._database.execute("SELECT source, count(*) FROM media WHERE core = ? GROUP BY source", (core,))
        return dict(found.fetchall())

    def has_verbatim(self, core: str) -> bool:
        """Whether the publisher named images for a core row."""
        return self._database.execute("SELECT 1 FROM verbatim WHERE core = ?", (core,)).fetchone() is not None

    def find_facts(self, kind: str, key: str) -> dict[str, str]:
        """The terms of an id."""
        found = self._database.execute("SELECT terms FROM facts WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        terms: dict[str, str] = json.loads(found[0]) if found else {}
        return terms

    def find_files(self, key: str) -> list[str]:
        """The paths of up to two files."""
        found = self._database.execute("SELECT DISTINCT path FROM files WHERE key = ? LIMIT 2", (key,)).fetchall()
        return [path for (path,) in found]

    def iterate_orphans(self) -> Iterator[tuple[str, str, str, int]]:
        """Id of the core row, image, table and line of images whose core row did not come."""
        yield from self._database.execute(
            "SELECT core, image, source, line FROM media WHERE core NOT IN (SELECT core FROM matched) ORDER BY rowid"
        )

    def iterate_rows(self) -> Iterator[StagedRow]:
        """The rows in the order in which they were added."""
        with self._named():
            self._run(_SHARED)
        for cells in self._database.execute(_READ):
            yield StagedRow._make((*cells[:8], json.loads(cells[8]), *cells[9:]))

    def _run(self, script: str) -> None:
        """Run statements, and go on in one transaction."""
        self._database.executescript(script)
        self._database.execute("BEGIN")

    def _fill(self, table: str, width: int, items: Iterable[Sequence[object]]) -> None:
        marks = ", ".join("?" * width)
        with self._named():
            self._database.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", items)  # noqa: S608  (our names)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn a full disk into the error by which herbray knows one."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "full" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._folder.name) from None


_SHARED: Final = """
CREATE INDEX rows_image ON rows (image);
CREATE INDEX rows_specimen ON rows (specimen, record);
CREATE TABLE best AS SELECT image, min(rank) AS rank FROM rows GROUP BY image HAVING count(DISTINCT specimen) > 1;
CREATE TABLE shared AS SELECT best.image, best.rank, count(DISTINCT name) AS names,
  (SELECT specimen FROM rows AS other WHERE other.image = best.image AND other.rank = best.rank ORDER BY rowid LIMIT 1)
  AS first FROM best JOIN rows ON rows.image = best.image AND rows.rank = best.rank GROUP BY best.image;
CREATE INDEX shared_image ON shared (image);
"""
_READ: Final = """
SELECT rows.*, coalesce(names, 0), coalesce(rows.specimen != first, 0), coalesce(rows.rank > shared.rank, 0),
  record != (SELECT min(record) FROM rows AS other WHERE other.specimen = rows.specimen)
FROM rows LEFT JOIN shared ON shared.image = rows.image ORDER BY rows.rowid
"""


def _cells(media: Media) -> tuple[str | int, ...]:
    return (
        *(media.image, int(media.thumbnail), media.pixels),
        *(media.license, media.license_text, media.rights_holder),
    )


def _media(cells: Sequence[Any]) -> Media:
    return Media(cells[1], bool(cells[2]), cells[3], cells[4], cells[5], cells[6])

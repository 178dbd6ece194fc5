"""Fixtures that write and read archives."""

import sys
import zipfile
from pathlib import Path

import pytest

from herbray.data.sources.base import Account
from herbray.data.sources.darwin_core import DarwinCore

sys.path.insert(0, str(Path(__file__).parent))
from dwc_archives import CORE, DWC, GBIF, MEDIA, describe, descriptor, occurrence, picture, tabbed


@pytest.fixture
def make(tmp_path):
    """Write an archive of some rows; members may be added or replaced, the dialect of both tables changed."""

    def write(
        core=None, media=None, members=None, path="archive.zip", dialect=None, core_columns=CORE, media_columns=MEDIA
    ):
        core = [occurrence(1), occurrence(2)] if core is None else core
        media = [picture(row[0]) for row in core] if media is None else media
        tables = [
            describe("core", "occurrence.txt", core_columns, DWC + "Occurrence", **(dialect or {})),
            describe("extension", "multimedia.txt", media_columns, GBIF + "Multimedia", **(dialect or {})),
        ]
        contents = {
            "meta.xml": descriptor(*tables),
            "occurrence.txt": tabbed(core_columns, core) if isinstance(core, list) else core,
            "multimedia.txt": tabbed(media_columns, media) if isinstance(media, list) else media,
        }
        place = tmp_path / path
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as file:
            for name, text in (contents | (members or {})).items():
                if text is not None:
                    file.writestr(name, text)
        return place

    return write


@pytest.fixture
def read():
    """Read an archive: rows, refusals as (specimen, image, reason, detail), and the account."""

    def run(path, **settings):
        refused, account = [], Account()
        source = DarwinCore(path=path, **settings)
        rows = [row for batch in source.read(lambda *row: refused.append(row), account) for row in batch.to_pylist()]
        for name, tally in account.facts["files"].items():
            gone = tally["used"] + sum(tally["left_out"].values()) + sum(tally["refused"].values())
            assert tally["rows"] == gone, name
        return rows, refused, account

    return run

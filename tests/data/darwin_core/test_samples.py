"""Genuine archives, row for row beside another reader."""

import warnings

import pytest
from dwc_archives import SAMPLES

from herbray.data.sources.darwin_core.archive.container import open_container
from herbray.data.sources.darwin_core.archive.descriptor import read_tables
from herbray.data.sources.darwin_core.ledger import Ledger
from herbray.data.sources.darwin_core.rows import read_rows

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the shared data are not here")
FINCH = "gbif_download_finch/0000154-150116162929234.zip"
READER = SAMPLES / "python_dwca_reader_samples"
WITH_DESCRIPTOR = (
    *sorted(path for path in READER.glob("*.zip") if "csv" not in path.name and "invalid" not in path.name),
    *SAMPLES.glob("gbif_download_finch/*.zip"),
    SAMPLES / "seinet_pectocarya",
)
WITHOUT_DESCRIPTOR = sorted([*READER.glob("dwca-simple-csv*.zip"), *READER.glob("*invalid-simple*.zip")])


def count_rows(path):
    """Rows read and refused of every declared table, by its name."""
    ledger = Ledger(lambda *_: None)
    with open_container(path) as box:
        core, others, _ = read_tables(box, box.find("meta.xml"))
        read = {table.name: sum(1 for _ in read_rows(box, table, (), ledger)) for table in (core, *others)}
    return {name: (count, ledger.tally(name).refused.total()) for name, count in read.items()}


@pytest.mark.parametrize("path", WITH_DESCRIPTOR, ids=lambda path: path.name)
def test_every_row_that_another_reader_finds_is_read_or_refused(path):
    reader = pytest.importorskip("dwca.read")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with reader.DwCAReader(str(path)) as archive:
            expected = {
                each.file_descriptor.file_location: sum(1 for _ in each)
                for each in (archive.core_file, *archive.extension_files)
            }
    found = count_rows(path)
    assert {name: read + refused for name, (read, refused) in found.items()} == expected
    refused = {name: refused for name, (_, refused) in found.items() if refused}
    assert refused == (
        {"vernacularname.txt": 1} if "orphaned" in path.name else {}
    )  # a row of five fields in four columns


@pytest.mark.parametrize(
    ("name", "core", "media"),
    [
        ("seinet_pectocarya", ("occurrences.csv", 1894, 756, 1138), ("multimedia.csv", 776, 756, 20)),
        ("gbif_ticks_multimedia", ("occurrence.txt", 1310, 1074, 236), ("multimedia.txt", 1362, 1074, 288)),
        (FINCH, ("occurrence.txt", 443, 1, 442), ("multimedia.txt", 1, 1, 0)),
    ],
)  # fmt: skip
def test_genuine_archives_give_a_row_for_each_record_with_an_image(read, name, core, media):
    rows, refused, account = read(SAMPLES / name)
    assert (account.facts["kind"], refused) == ("Darwin Core Archive", [])
    for table, count, used, left_out in (core, media):
        tally = account.facts["files"][table]
        assert (tally["rows"], tally["used"], sum(tally["left_out"].values())) == (count, used, left_out)
    assert len(rows) == core[2] == len({row["specimen_id"] for row in rows})


def test_accents_of_an_archive_in_latin_1(read):
    rows, _, account = read(SAMPLES / "seinet_pectocarya")
    assert any((row["gathering"] or "").startswith("andre |") for row in rows)  # "Jim André"
    assert account.facts["citation"].startswith("Biodiversity occurrence data published by: SEINet")
    assert {row["license"] for row in rows} == {"CC-BY-NC-3.0", "CC-BY-3.0", "CC-BY-NC-4.0", "CC0-1.0", "CC-BY-4.0"}


def test_a_download_is_cited_by_its_doi_and_the_absent_table_is_named(read):
    _, _, account = read(SAMPLES / "gbif_ticks_multimedia")
    assert account.facts["citation"] == "GBIF Occurrence Download https://doi.org/10.15468/dl.4gbcs6"
    assert account.facts["absent"] == ["verbatim.txt"]


@pytest.mark.parametrize("path", WITHOUT_DESCRIPTOR, ids=lambda path: path.name)
def test_tables_without_a_descriptor(read, path):
    rows, refused, account = read(path)
    assert (rows, refused, account.facts["kind"]) == ([], [], "GBIF SIMPLE_CSV")
    assert account.skipped == {"no_image": 3}


@pytest.mark.parametrize("name", ["2extensions", "ids", "orphaned-rows", "star-test-archive"])
def test_lists_of_taxa_are_refused(read, name):
    with pytest.raises(ValueError, match="a row of its core is a 'taxon'"):
        read(READER / f"dwca-{name}.zip")


def test_a_tar_file_is_refused(read):
    with pytest.raises(ValueError, match="a gzip file; unpack it"):
        read(READER / "dwca-simple-test-archive.tgz")

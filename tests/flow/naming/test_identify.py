import csv
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herbray import schema, storage, tables
from herbray.flow.naming.job import Naming, identify
from herbray.flow.naming.output import _file_name


def settings(photographed, tmp_path, **more):
    places = {"embeddings": photographed / "embeddings", "shards": photographed / "shards", "out": tmp_path / "out"}
    return Naming.model_validate(places | {"split": "random", "rank": "genus", "accuracy": 0.9} | more)


@pytest.fixture(scope="module")
def done(photographed, tmp_path_factory):
    root = tmp_path_factory.mktemp("identify")
    folder = root / "photographs"
    folder.mkdir()
    shutil.copy(photographed / "originals" / "002.jpg", folder / "=1+1.jpg")
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("x")
    (root / "out" / "families").mkdir(parents=True)
    (root / "out" / "families" / "Oldaceae.csv").write_text("of an earlier run")
    return root, identify(settings(photographed, root, images=folder))


def test_sheets_and_photographs_get_names_and_the_counts_add_up(done):
    root, told = done
    assert "43 input, 2 ok, 1 quarantined, 40 skipped" in told  # 39 sheets that have a name, one text
    table = pq.read_table(root / "out" / "names.parquet")
    assert table.schema == schema.NAMED
    rows = {row["specimen_id"]: row for row in table.to_pylist()}
    photograph = next(name for name in rows if name.endswith("=1+1.jpg"))
    assert set(rows) == {"@007", photograph}
    assert rows["@007"]["family"] == "Rosaceae"
    assert rows["@007"]["suggested_family"] is None
    assert rows[photograph]["neighbours"][0] == "@002"
    assert rows[photograph]["distance"] < 1e-5
    assert rows[photograph]["suggested_genus"] == "=Cmd|' /C calc'!A0"
    assert 0 <= rows[photograph]["confidence_genus"] <= 1
    assert rows[photograph]["image"] == photograph


def test_work_lists_lie_by_family_and_no_cell_is_a_formula(done):
    root, _ = done
    lists = {path.name for path in (root / "out" / "families").iterdir()}
    assert "Rosaceae.csv" in lists
    assert "Oldaceae.csv" not in lists
    with (root / "out" / "names.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "-"))]
    with (root / "out" / "measured.csv").open(encoding="utf-8-sig", newline="") as file:
        measured = list(csv.DictReader(file))
    assert {(row["rank"], row["given"]) for row in measured if row["subject"] == "names"} >= {("genus", "family")}
    assert (root / "out" / "accuracy-coverage.png").read_bytes().startswith(b"\x89PNG")


def test_the_quarantine_says_why(done):
    refused = pq.read_table(done[0] / "out" / "quarantine.parquet").to_pylist()
    assert [(row["stage"], row["reason"]) for row in refused] == [("identify", "not-an-image")]


def test_sheets_of_a_catalogue_that_are_not_embedded_are_named(photographed, tmp_path):
    row = dict.fromkeys(schema.CATALOGUE.names)
    image = str(photographed / "originals" / "004.jpg")
    rows = [row | {"specimen_id": name, "image": image, "family": "Rosaceae"} for name in ("new", "@004")]
    rows.append(row | {"specimen_id": "named", "image": image, "genus": "Alba"})
    folder = write_catalogue(tmp_path / "catalogue", rows)
    told = identify(settings(photographed, tmp_path, catalogue=folder))
    assert "42 input, 2 ok, 0 quarantined, 40 skipped" in told
    found = {row["specimen_id"]: row for row in pq.read_table(tmp_path / "out" / "names.parquet").to_pylist()}
    assert set(found) == {"@007", "new"}
    assert (found["new"]["image"], found["new"]["neighbours"][0]) == (image, "@004")


def write_catalogue(folder, rows):
    tables.write(folder / "catalogue.parquet", pa.Table.from_pylist(rows, schema=schema.CATALOGUE))
    storage.write_note(folder / "manifest.json", {"schema_version": schema.VERSION, "counts": {"ok": len(rows)}})
    return folder


def test_nothing_to_name_and_nothing_to_learn_from(photographed, tmp_path):
    with pytest.raises(ValueError, match=r"has a name at rank family: name photographs \(images=FOLDER\), set catal"):
        identify(settings(photographed, tmp_path, rank="family"))
    with pytest.raises(ValueError, match="No names are suggested at rank order: no specimen has a name"):
        identify(settings(photographed, tmp_path, rank="order"))
    assert "No names are suggested at rank species" in identify(settings(photographed, tmp_path, rank="species"))
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="no image can be read: 1 were refused"):
        identify(settings(photographed, tmp_path, rank="family", images=tmp_path / "a.jpg"))


@pytest.mark.parametrize(
    ("family", "start"), [("Rosaceae", "Rosaceae.csv"), ("../../x", "x-"), ("وردة", "family-"), ("A" * 10_000, "AAA")]
)
def test_a_family_is_a_safe_file_name(family, start):
    name = _file_name(family)
    assert name.startswith(start)
    assert len(name) < 80
    assert not set(name) & set("/\\\0")
    assert _file_name(None) == "no-family.csv" != _file_name("no-family")

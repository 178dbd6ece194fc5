import csv

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herbray import schema, storage, tables
from herbray.config import ConfigError, load
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.sources.folder import Folder
from herbray.flow.evaluation.suspects import Suspects, suspects
from herbray.tasks.mislabel import Mislabel

GENERA = ("Alba", "Borea", "=Cmd|' /C calc'!A0")  # a name that a spreadsheet would run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("suspects") / "encoder"
    generator = np.random.default_rng(0)
    rows = []
    for number in range(90):
        row = dict.fromkeys(schema.SPECIMEN.names)
        row |= {"specimen_id": f"@{number:03d}", "genus": GENERA[number % 3], "split": "random", "institution": "NY"}
        row |= {"gathering": f"g{number // 6}-{number % 3}", "catalog_number": f"NY{number}"}
        row["embedding"] = (6 * np.eye(8)[number % 3] + generator.standard_normal(8)).astype(np.float32)
        rows.append(row)
    rows[4]["genus"], rows[8]["genus"] = "Alba", "Borea"  # of Borea, of the third
    path = root / "split=random" / "part-00000.parquet"
    tables.write(path, pa.Table.from_pylist(rows, schema=schema.embedding_schema(8)))
    storage.write_note(root / "manifest.json", {"name": "encoder"})
    return root


def test_the_list_is_written_in_both_forms_with_evidence(folder, tmp_path):
    done = suspects(Suspects(embeddings=folder, split="random", out=tmp_path / "out", neighbours=3))
    listed = done.table
    head, *estimates, reliability, counts = str(done).splitlines()
    kinds = "; 4 sheets are of gatherings with several names"
    listing = f"{tmp_path}/out/suspects.csv lists 90, most probably wrong first"
    assert head == f"2 of 90 sheets are suspected{kinds}; {listing}"
    assert [line.split(",")[0] for line in estimates] == ["Of the first 10", "Of the first 50", "In all"]
    assert reliability.startswith("Calibration error of the probe's probabilities, out of fold: ")
    assert (tmp_path / "out" / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert counts == "90 sheets: 90 judged, 0 not judged"
    assert listed.schema == schema.SUSPECT
    assert pq.read_table(tmp_path / "out" / "suspects.parquet").equals(listed)
    head = listed.slice(0, 2).to_pylist()
    assert {(row["specimen_id"], row["given"], row["suggested"]) for row in head} == {
        ("@004", "Alba", "Borea"),
        ("@008", "Borea", GENERA[2]),
    }
    assert listed["place"].to_pylist() == list(range(1, 91))
    for row in head:
        assert row["suspected"]
        assert row["neighbour_names"] == [row["suggested"]] * 3
        assert len(set(row["neighbours"])) == 3
        assert row["specimen_id"] not in row["neighbours"]
        number = int(row["specimen_id"][1:])
        twin = f"@{number + (3 if number % 6 < 3 else -3):03d}"
        assert twin not in row["neighbours"]  # the same gathering proves nothing
        assert row["kind"] == "gathering"  # but its other name is evidence
        assert (row["institution"], row["catalog_number"]) == ("NY", f"NY{int(row['specimen_id'][1:])}")
        assert row["image"] is None


def test_no_cell_of_the_csv_is_a_formula(folder, tmp_path):
    listed = suspects(Suspects(embeddings=folder, split="random", out=tmp_path)).table
    with (tmp_path / "suspects.csv").open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == schema.SUSPECT.names
    assert len(rows) == listed.num_rows == 90
    for row in rows:
        assert not any(cell.startswith(("=", "+", "@", "-")) for cell in row)
    cells = dict(zip(header, rows[0], strict=True))
    assert cells["specimen_id"].startswith("'@")
    assert cells["neighbours"].count("; ") == 4
    assert float(cells["given_probability"]) == pytest.approx(listed["given_probability"][0].as_py(), abs=1e-4)


def test_images_come_from_the_catalogue_and_a_shorter_list_is_its_head(folder, tmp_path):
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    lines = ["specimen_id,image,genus", *(f"@{number:03d},{number}.jpg,Alba" for number in range(80))]
    (sheets / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    for number in range(80):
        (sheets / f"{number}.jpg").write_bytes(b"never opened")
    catalogue.build(Catalogue(source=Folder(path=sheets), out=tmp_path / "catalogue"))
    spec = Suspects(embeddings=folder, split="random", out=tmp_path / "a", catalogue=tmp_path / "catalogue")
    whole = suspects(spec).table
    images = dict(zip(whole["specimen_id"].to_pylist(), whole["image"].to_pylist(), strict=True))
    assert images["@004"].endswith("4.jpg")
    assert images["@085"] is None
    short = suspects(Suspects(embeddings=folder, split="random", out=tmp_path / "b", most=7)).table
    assert short["specimen_id"].to_pylist() == whole["specimen_id"].to_pylist()[:7]


def test_a_person_reads_which_sheets_were_not_judged_and_why(folder, tmp_path):
    done = suspects(Suspects(embeddings=folder, split="random", out=tmp_path, probe=Mislabel(folds=16)))
    head, *_, why, counts = str(done).splitlines()
    assert head.endswith("most probably wrong first")
    assert why.startswith("Not judged: 28 sheets of 1 name in fewer than 16 gatherings, which is the number of folds")
    assert counts == f"90 sheets: 62 judged, 28 not judged; {tmp_path}/not-judged.csv lists the others"
    with (tmp_path / "not-judged.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 28
    assert {(row["rank"], row["reason"]) for row in rows} == {("genus", "fewer than 16 gatherings under this name")}


def test_every_sheet_of_the_catalogue_is_accounted_for(folder, tmp_path):
    sheets = tmp_path / "sheets"
    sheets.mkdir()
    lines = ["specimen_id,image,genus", *(f"@{number:03d},{number}.jpg,Alba" for number in range(93))]
    (sheets / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    for number in range(93):
        (sheets / f"{number}.jpg").write_bytes(b"never opened")
    catalogue.build(Catalogue(source=Folder(path=sheets), out=tmp_path / "catalogue"))
    done = suspects(Suspects(embeddings=folder, out=tmp_path, catalogue=tmp_path / "catalogue"))
    counts = f"93 sheets: 90 judged, 0 not judged, 3 of other splits or not embedded; {tmp_path}/not-judged.csv lists"
    assert counts in str(done)
    with (tmp_path / "not-judged.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["specimen_id"] for row in rows] == ["'@090", "'@091", "'@092"]
    assert rows[0]["reason"].startswith("not embedded")


def test_a_trained_encoder_is_told_of_and_synonyms_come_from_a_table(folder, tmp_path):
    trained = tmp_path / "trained"
    table = pq.read_table(folder / "split=random" / "part-00000.parquet")
    at = table.schema.get_field_index("split")
    table = table.set_column(at, table.schema.field(at), pa.array(["train"] * 90))
    tables.write(trained / "split=train" / "part-00000.parquet", table)
    storage.write_note(trained / "manifest.json", {"name": "encoder", "objective": "triplet"})
    (tmp_path / "synonyms.csv").write_text("name,accepted\nBorea,Alba\n", encoding="utf-8")
    done = suspects(Suspects(embeddings=trained, out=tmp_path, synonyms=tmp_path / "synonyms.csv"))
    assert "90 of these sheets are in the training or validation split: the encoder has seen them" in str(done)
    assert " are under a synonym; " in str(done)
    old = [row for row in done.table.to_pylist() if row["kind"] == "synonym"]
    assert {(row["given"], row["suggested"]) for row in old} == {("Borea", "Alba")}
    assert len(old) >= 28


def test_several_encoders_or_an_unknown_split_are_refused(folder, tmp_path):
    other = folder.parent / "other"
    storage.write_note(other / "manifest.json", {})
    with pytest.raises(ValueError, match=r"embeddings of 2 encoders \(encoder, other\)"):
        suspects(Suspects(embeddings=folder.parent, out=tmp_path))
    with pytest.raises(ValueError, match="no embeddings of split 'herbarium'"):
        suspects(Suspects(embeddings=folder, split="herbarium", out=tmp_path))
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        load(Suspects, overrides=["split=randm"])


def test_sheets_with_one_image_come_from_the_list_of_the_shards(folder, tmp_path):
    rows = [{"group": "@000", "kind": "image", "specimen_id": each, "split": "random"} for each in ("@000", "@001")]
    table = pa.Table.from_pylist(rows, schema=schema.DUPLICATE)
    tables.write(tmp_path / "duplicates.parquet", table)
    done = suspects(Suspects(embeddings=folder, out=tmp_path / "out", duplicates=tmp_path))
    assert "; 2 have an image with several names; " in str(done)
    tables.write(tmp_path / "duplicates.parquet", table.drop_columns("specimen_id"))
    with pytest.raises(ValueError, match=r"duplicates\.parquet.*specimen_id"):
        suspects(Suspects(embeddings=folder, out=tmp_path / "out", duplicates=tmp_path))

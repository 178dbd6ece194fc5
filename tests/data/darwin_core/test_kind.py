import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SIMPLE = "gbifID\tdatasetKey\toccurrenceID\tgenus\tspecies\tbasisOfRecord\tinstitutionCode\tcatalogNumber\tmediaType\n"
KEY = "50c9509d-22c7-4a22-a47d-8c48425ef4a7"
ROWS = [("11", KEY, "urn:uuid:1", "Rubus", "Rubus idaeus", "PRESERVED_SPECIMEN", "K", "K 11", "StillImage"),
        ("12", KEY, "urn:uuid:2", "Zea", "Zea mays", "PRESERVED_SPECIMEN", "K", "K 12", "StillImage")]  # fmt: skip


@pytest.fixture
def pictures(tmp_path):
    """A folder of files named by catalogue number and by the id of the record."""
    (tmp_path / "pictures/sub").mkdir(parents=True)
    for name in ("k11.JPG", "sub/12.png"):
        (tmp_path / "pictures" / name).write_bytes(b"x")
    return tmp_path / "pictures"


def put(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def check(read, path, pictures, kind):
    rows, refused, account = read(path, images=pictures)
    assert (account.facts["kind"], refused) == (kind, [])
    assert [(row["species"], row["image"].rpartition("/")[2]) for row in rows] == [
        ("Rubus idaeus", "k11.JPG"),
        ("Zea mays", "12.png"),
    ]
    assert rows[0]["specimen_id"].startswith(KEY)


@pytest.mark.parametrize("name", ["0001.csv", "data", "sub/occurrence.txt"])
def test_a_simple_download_is_known_by_its_header(tmp_path, read, pictures, name):
    text = SIMPLE + "".join("\t".join(row) + "\n" for row in ROWS)
    check(read, put(tmp_path / "download.bin", {name: text, "note": ""}), pictures, "GBIF SIMPLE_CSV")


def test_a_single_table_with_quotes_and_commas_in_utf_16(tmp_path, read, pictures):
    text = SIMPLE.replace("\t", ",") + "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in ROWS)
    (tmp_path / "table.csv").write_bytes(text.encode("utf-16"))
    check(read, tmp_path / "table.csv", pictures, "GBIF SIMPLE_CSV")


@pytest.mark.parametrize("layout", ["zip", "folder", "file"])
def test_a_parquet_download_with_lists(tmp_path, read, pictures, layout):
    names = [name.lower() for name in SIMPLE.strip().split("\t")]
    columns = {name: [row[i] for row in ROWS] for i, name in enumerate(names)}
    columns["recordedby"] = [[{"array_element": "R. Spruce"}, {"array_element": "A. Wallace"}], None]
    columns["recordnumber"] = ["7", None]
    place = tmp_path / "occurrence.parquet" / "000001"
    place.parent.mkdir()
    pq.write_table(pa.table(columns), place)
    path = {"zip": tmp_path / "a.zip", "folder": tmp_path / "occurrence.parquet", "file": place}[layout]
    if layout == "zip":
        put(path, {"occurrence.parquet/000001": place.read_bytes(), "citations.txt": "GBIF.org (2026)"})
    check(read, path, pictures, "GBIF SIMPLE_PARQUET")
    rows, _, _ = read(path, images=pictures)
    assert rows[0]["gathering"] == "spruce | 7"


def test_a_damaged_parquet_file_is_refused(tmp_path, read):
    with pytest.raises(ValueError, match="no complete Parquet file"):
        read(put(tmp_path / "a.zip", {"000001": b"PAR1" + b"\0" * 40}))


@pytest.mark.parametrize("members", [{"a.txt": "hello"}, {"a.csv": SIMPLE, "b.csv": SIMPLE}, {}])
def test_what_is_no_archive_is_refused(tmp_path, read, members):
    with pytest.raises(ValueError, match="neither a Darwin Core Archive"):
        read(put(tmp_path / "a.zip", members))


# A data package as the herbarium in Berlin publishes it, shortened: sheets, DNA samples, IIIF manifests.
PACKAGE = {
    "material": "materialEntityID,eventID,materialEntityType,institutionCode,catalogNumber,recordNumber,"
    "evidenceForOccurrenceID\n"
    "B 1,E1,PreservedSpecimen,B,B 1,4703,O1\nB 2,E2,PreservedSpecimen,B,B 2,,O2\nDB 1,E1,MaterialSample,B,DB 1,,O1\n",
    "media": "mediaID,mediaType,accessURI,format,rights,Owner\n"
    '1_manifest,INTERACTIVE_RESOURCE,https://a.b/manifest.json,application/json,,\n'
    '1,STILL_IMAGE,"https://a.b/IIIF/B!1.jpg/full/2048,/0/default.jpg",image/jpeg,'
    "https://creativecommons.org/licenses/by-sa/3.0/,BGBM\n"
    "2,STILL_IMAGE,https://a.b/2.jpg,image/jpeg,,\n9,STILL_IMAGE,https://a.b/9.jpg,image/jpeg,,\n",
    "material-media": "mediaID,materialEntityID\n1_manifest,B 1\n1,B 1\n2,B 2\n2,B 7\n",
    "occurrence": 'occurrenceID,recordedBy\nO1,"T. Dürbye & A. Kirchhoff"\nO2,C. Pringle\n',
    "event": "eventID,eventDate\nE1,2009-08-10\nE2,1892-09-02\n",
    "identification": "identificationID,basedOnMaterialEntityID,isAcceptedIdentification,scientificName,taxonRank\n"
    "i1,B 1,false,Draba orbiculata Rose,species\ni2,B 1,true,Lunaria rediviva L.,species\n"
    "i3,B 2,true,Zea mays L.,species\n",
    "collection": "collectionID\nx\n",
}  # fmt: skip


def package(path, **changes):
    members = {f"{name}.csv": text for name, text in (PACKAGE | changes).items() if text is not None}
    resources = [{"name": name, "path": f"{name}.csv", "encoding": "UTF-8"} for name in PACKAGE]
    return put(path, {"datapackage.json": json.dumps({"profile": "data-package", "resources": resources}), **members})


def test_a_data_package_is_joined_from_its_tables(tmp_path, read):
    rows, refused, account = read(package(tmp_path / "a.zip"))
    assert account.facts["kind"] == "Darwin Core Data Package"
    assert [(row["specimen_id"], row["species"], row["gathering"]) for row in rows] == [
        ("B:/B 1", "Lunaria rediviva", "durbye | 4703 | 2009-08-10"),
        ("B:/B 2", "Zea mays", None),
    ]
    assert (rows[0]["license"], rows[0]["rights_holder"]) == ("CC-BY-SA-3.0", "BGBM")
    assert [(reason, detail.partition(":")[0]) for _, _, reason, detail in refused] == [("orphan", "media.csv, line 4")]
    files = account.facts["files"]
    assert files["media.csv"]["left_out"] == {"not_an_image": 1, "of_no_specimen": 1}
    assert files["material-media.csv"]["left_out"] == {"of_no_image": 1}
    assert files["material.csv"]["left_out"] == {"no_image": 1}
    assert account.facts["unread"] == ["collection"]


def test_a_data_package_that_names_an_absent_file_is_refused(tmp_path, read):
    with pytest.raises(ValueError, match=r"names the file 'media\.csv', which is not in the archive"):
        read(package(tmp_path / "a.zip", media=None))


@pytest.mark.parametrize("text", ["{", "[]", '{"resources": [{"path": "x.csv"}]}', '{"resources": 7}'])
def test_a_descriptor_that_is_none_is_refused(tmp_path, read, text):
    with pytest.raises(ValueError, match="not the descriptor of a data package"):
        read(put(tmp_path / "a.zip", {"datapackage.json": text}))

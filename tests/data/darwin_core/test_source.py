import zipfile

import pytest
from dwc_archives import CORE, DWC, MEDIA, describe, descriptor, occurrence, picture
from PIL import Image

from herbray import tables
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue, QuarantineLimit
from herbray.data.imaging.originals import ImageRefused, read_bytes
from herbray.data.sources.darwin_core import DarwinCore, ledger
from herbray.schema import RIGHTS


def jpeg(tmp_path, colour="beige", size=(40, 60)):
    Image.new("RGB", size, colour).save(tmp_path / "one.jpg")
    return (tmp_path / "one.jpg").read_bytes()


def reasons(refused):
    return [(reason, detail.partition(":")[0]) for _, _, reason, detail in refused]


def test_a_row_has_its_names_image_and_rights(make, read):
    rows, refused, account = read(make(core=[occurrence(1)], core_columns=CORE))
    assert refused == []
    assert rows == [
        {
            "specimen_id": "00000000-0000-4000-8000-000000000001", "image": "https://example.org/1.jpg", "order": None,
            "family": "Rosaceae", "genus": "Rubus", "species": "Rubus caesius", "institution": "K", "gathering": None,
            "catalog_number": "K1", "license": "CC-BY-4.0", "rights_holder": "Kew", "reference": None,
            "true_species": None,
        }
    ]  # fmt: skip
    assert (
        account.tables["rights"].to_pylist()[0]["media_license_text"] == "http://creativecommons.org/licenses/by/4.0/"
    )


def test_the_licence_of_a_record_is_not_that_of_its_image(make, read):
    columns = [*CORE, "license"]
    path = make(core=[[*occurrence(1), "CC0_1_0"]], media=[picture(1, license="")], core_columns=columns)
    rows, _, account = read(path)
    assert rows[0]["license"] is None
    right = account.tables["rights"].to_pylist()[0]
    assert (right["media_license"], right["record_license"], right["record_license_text"]) == (
        None,
        "CC0-1.0",
        "CC0_1_0",
    )


def test_records_without_images_are_left_out_and_counted(make, read):
    rows, refused, account = read(make(media=[picture(2)]))
    assert (len(rows), refused, dict(account.skipped)) == (1, [], {"no_image": 1})


def test_sounds_and_pages_are_no_images(make, read):
    media = [picture(1, type="Sound", format="audio/mpeg"), picture(1, format="text/html"), picture(2)]
    rows, refused, account = read(make(media=media))
    assert (len(rows), refused) == (1, [])
    assert account.facts["files"]["multimedia.txt"]["left_out"] == {"not_an_image": 2}


def test_the_id_of_the_core_is_compared_without_blanks(make, read):
    rows, refused, _ = read(make(core=[occurrence(1)], media=[picture("1 ", "https://a.b/1.jpg")]))
    assert (len(rows), refused) == (1, [])


def test_bad_rows_are_refused_by_line_and_reason(make, read):
    core = [
        occurrence(1), occurrence(2, id=""), [*occurrence(3), "more"], occurrence(4, basisOfRecord="https://a.b/c"),
        occurrence(5, occurrenceID="", catalogNumber=""), occurrence(6)[:-1], occurrence(1, catalogNumber="K99"),
    ]  # fmt: skip
    media = [*(picture(n) for n in (1, 3, 4, 5, 77)), picture(""), picture(1, "urn:uuid:x")]
    rows, refused, account = read(make(core=core, media=media))
    assert [row["catalog_number"] for row in rows] == ["K1"]
    assert sorted(reasons(refused)) == [
        ("duplicate_core_id", "occurrence.txt, line 8"),
        ("fields", "occurrence.txt, line 4"),
        ("fields", "occurrence.txt, line 7"),
        ("no_address", "multimedia.txt, line 8"),
        ("no_core_id", "multimedia.txt, line 7"),
        ("no_core_id", "occurrence.txt, line 3"),
        ("no_identity", "occurrence.txt, line 6"),
        ("orphan", "multimedia.txt, line 3"),
        ("orphan", "multimedia.txt, line 6"),
        ("shifted", "occurrence.txt, line 5"),
    ]
    assert account.facts["files"]["multimedia.txt"]["left_out"] == {"of_an_unused_record": 2}


def test_undeclared_latin_1_is_refused_by_row_and_read_when_told(make, read):
    core = "\t".join(CORE).encode() + b"\n" + "\t".join(occurrence(1, family="Wüstenblütler")).encode("latin-1") + b"\n"
    _, refused, _ = read(make(core=core, media=[picture(1)]))
    assert reasons(refused) == [("encoding", "occurrence.txt, line 2"), ("orphan", "multimedia.txt, line 2")]
    assert "as cp1252 it would read" in refused[0][3]
    rows, refused, _ = read(make(core=core, media=[picture(1)]), encoding="latin-1")
    assert (rows[0]["family"], refused) == ("Wüstenblütler", [])


def test_an_archive_that_is_not_what_it_declares_is_refused_as_a_whole(make, read, monkeypatch):
    monkeypatch.setattr(ledger, "MAX_REFUSED", 3)
    with pytest.raises(ValueError, match="more than 3 rows of the archive cannot be used"):
        read(make(core=[occurrence(0), *(occurrence(n)[:-1] for n in range(1, 6))]))


MANY = [picture(1, "https://a.b/1.jpg"), picture(1, "https://a.b/2.jpg"), picture(1, "https://a.b/1.jpg")]


@pytest.mark.parametrize(
    ("several", "images"), [("first", ["1"]), ("all", ["1", "2"]), ("largest", ["1"])]
)  # without sizes, the first is the largest
def test_several_images_of_a_specimen(make, read, several, images):
    rows, refused, account = read(make(core=[occurrence(1)], media=MANY), several_images=several)
    assert [row["image"] for row in rows] == [f"https://a.b/{name}.jpg" for name in images]
    assert refused == []
    ids = [row["specimen_id"] for row in rows]
    assert ids == [ids[0], f"{ids[0]}#2"][: len(ids)]
    if several == "all":
        assert len({row["gathering"] for row in rows}) == 1  # so that no split separates them
        assert rows[0]["gathering"] is not None
    left = account.facts["files"]["multimedia.txt"]["left_out"]
    assert left == {"repeated": 1} | ({"further_image": 1} if several != "all" else {})
    assert account.facts.get("largest_unknown") == (1 if several == "largest" else None)


def test_the_largest_image_by_declared_pixels_and_a_thumbnail_only_if_there_is_nothing_else(make, read):
    columns = [*MEDIA, "pixelXDimension", "pixelYDimension", "variant"]
    media = [
        [*picture(1, "https://a.b/t.jpg"), "9000", "9000", "Thumbnail"],
        [*picture(1, "https://a.b/s.jpg"), "100", "200", ""],
        [*picture(1, "https://a.b/l.jpg"), "1000", "2000", ""],
        [*picture(2, "https://a.b/only.jpg"), "", "", "Thumbnail"],
    ]
    rows, _, _ = read(make(media=media, media_columns=columns), several_images="largest")
    assert [row["image"] for row in rows] == ["https://a.b/l.jpg", "https://a.b/only.jpg"]


def test_one_image_of_several_specimens(make, read):
    one, two = "https://a.b/same.jpg", "https://a.b/mixed.jpg"
    core = [occurrence(1), occurrence(2), occurrence(3), occurrence(4, genus="Zea", specificEpithet="mays")]
    path = make(core=core, media=[picture(1, one), picture(2, one), picture(3, two), picture(4, two)])
    rows, refused, _ = read(path)
    assert [row["catalog_number"] for row in rows] == ["K1"]
    assert reasons(refused) == [("shared_image", f"occurrence.txt, line {line}") for line in (3, 4, 5)]
    rows, refused, _ = read(path, shared_images="refuse")
    assert (rows, len(refused)) == ([], 4)
    rows, refused, _ = read(path, shared_images="all")
    assert (len(rows), refused) == (4, [])


def test_a_record_that_was_published_twice_is_refused_once(make, read):
    twin = occurrence(1, id="2")
    rows, refused, _ = read(make(core=[occurrence(1), twin], media=[picture(1, "https://a.b/1.jpg"), picture(2)]))
    assert len(rows) == 1
    assert reasons(refused) == [("duplicate", "occurrence.txt, line 3")]


def test_kinds_of_records_can_be_chosen(make, read):
    core = [
        occurrence(1),
        occurrence(2, basisOfRecord="HUMAN_OBSERVATION"),
        occurrence(3, basisOfRecord="PRESERVED_SPECIMEN"),
    ]
    rows, refused, account = read(make(core=core), basis=("PreservedSpecimen",))
    assert [row["catalog_number"] for row in rows] == ["K1", "K3"]
    assert (refused, dict(account.skipped)) == ([], {"basis_of_record": 1})


def test_associated_media_count_where_the_table_of_images_has_none(make, read):
    columns = [*CORE, "associatedMedia"]
    core = [[*occurrence(1), "https://a.b/1.jpg | https://a.b/2.jpg"], [*occurrence(2), "https://a.b/x.jpg"]]
    rows, refused, _ = read(make(core=core, media=[picture(2)], core_columns=columns))
    assert [row["image"] for row in rows] == ["https://a.b/1.jpg", "https://example.org/2.jpg"]
    assert refused == []


def test_images_inside_the_archive_are_read_in_place(make, read, tmp_path):
    data = jpeg(tmp_path)
    media = [picture(1, "K1.jpg"), picture(2, "images/K2.jpg"), picture(3, "K3.jpg"), picture(4, "../K4.jpg")]
    members = {"images/K1.jpg": data, "images/K2.jpg": data}
    path = make(core=[occurrence(n) for n in (1, 2, 3, 4)], media=media, members=members)
    rows, refused, _ = read(path)
    assert [row["image"] for row in rows] == [f"{path}!/images/K1.jpg", f"{path}!/images/K2.jpg"]
    assert read_bytes(rows[0]["image"]) == data
    assert reasons(refused) == [("not_in_archive", f"multimedia.txt, line {line}") for line in (4, 5)]
    with pytest.raises(ImageRefused, match="no member of this name"):
        read_bytes(f"{path}!/images/K9.jpg")
    with pytest.raises(ImageRefused, match="run `herbray fetch` first"):
        read_bytes("https://example.org/1.jpg")


def test_files_of_a_folder_by_name_catalogue_number_or_id(make, read, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    names = ["scan one.JPG", "k 2.png", "3.tif", "K4.jpg", "K4.png", "note.txt"]
    for name in names:
        (folder / name).write_bytes(b"x")
    (folder / "K6.jpg").symlink_to(folder / "K4.jpg")
    core = [occurrence(n) for n in (1, 2, 3, 4, 5, 6)]
    path = make(
        core=core, media=[picture(1, "https://a.b/x/scan%20one.jpg?size=full"), picture(5, "https://a.b/default.jpg")]
    )
    rows, refused, account = read(path, images=folder)
    assert [row["image"] for row in rows] == [str(folder / name) for name in names[:3]]
    assert [reason for _, _, reason, _ in refused] == ["ambiguous"]
    assert dict(account.skipped) == {"not_in_folder": 2}


def test_a_file_belongs_to_the_catalogue_number_before_the_id_of_a_record(make, read, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/7.jpg").write_bytes(b"x")
    core = [occurrence(7), occurrence(8, catalogNumber="7", genus="Zea")]
    rows, refused, account = read(make(core=core, media=[]), images=tmp_path / "pictures")
    assert [(row["catalog_number"], row["genus"]) for row in rows] == [("7", "Zea")]
    assert (refused, account.facts["files"]["occurrence.txt"]["left_out"]) == ([], {"not_in_folder": 1})


def test_a_folder_without_images_is_refused(make, read, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no image files"):
        read(make(), images=tmp_path / "empty")
    with pytest.raises(ValueError, match="no such folder"):
        read(make(), images=tmp_path / "absent")


AC = "http://rs.tdwg.org/ac/terms/Multimedia"


def test_a_download_of_idigbio(make, read):
    """Quoted CSV, prefixed headers, interpreted and raw tables."""
    dialect = {"fieldsTerminatedBy": ",", "fieldsEnclosedBy": "&quot;"}
    media, core = ["coreid", "accessURI", "rights", "mediaType"], ["id", "occurrenceID", "recordset", "genus"]
    recordset, address = "7ddb21fc-fa2f-4575-a594-322e837faa88", "https://a.b/1.jpg"
    tables = (
        describe("core", "occurrence.csv", core, DWC + "Occurrence", **dialect),
        describe("extension", "multimedia_raw.csv", media, AC, **dialect),
        describe("extension", "multimedia.csv", media, AC, **dialect),
        describe("extension", "occurrence_raw.csv", core, DWC + "Occurrence", **dialect),
    )
    head = "coreid,dwc:occurrenceID,idigbio:recordset,dwc:genus\n"
    images = f'coreid,ac:accessURI,dcterms:rights,idigbio:mediaType\nu1,{address},"CC0, as is",images\n'
    members = {
        "meta.xml": descriptor(*tables),
        "occurrence.csv": f'{head}u1,"urn:uuid:1",{recordset},rubus\nu2,2,{recordset},zea\n',
        "occurrence_raw.csv": f"{head}u1,1,x,Rubus\n",
        "multimedia.csv": images,
        "multimedia_raw.csv": f"{images}u2,https://a.b/2.jpg,,\n",
    }
    rows, refused, account = read(make(members=members | {"occurrence.txt": None, "multimedia.txt": None}))
    assert refused == []
    assert [(row["specimen_id"], row["image"], row["license"]) for row in rows] == [
        (f"{recordset}/1", address, "CC0-1.0")
    ]
    assert account.facts["images_only_in_verbatim_table"] == 1


def test_images_only_in_the_publishers_table_are_counted(make, read):
    verbatim = (
        '<extension fieldsTerminatedBy="\\t" fieldsEnclosedBy="" rowType="http://rs.tdwg.org/dwc/terms/Occurrence">'
        '<files><location>verbatim.txt</location></files><coreid index="0"/>'
        '<field index="1" term="http://rs.tdwg.org/dwc/terms/associatedMedia"/></extension></archive>'
    )
    path = make(media=[picture(1)])
    with zipfile.ZipFile(path) as file:
        meta = file.read("meta.xml").decode().replace("</archive>", verbatim)
    lists = "1\thttps://a.b/1.jpg\n2\thttps://a.b/2.jpg\n"
    _, _, account = read(make(media=[picture(1)], members={"meta.xml": meta, "verbatim.txt": lists}))
    assert account.facts["images_only_in_verbatim_table"] == 1


EML = """<eml:eml xmlns:eml="eml://ecoinformatics.org/eml-2.1.1" packageId="10.15468/dl.4gbcs6"><dataset>
<title>GBIF Occurrence Download 10.15468/dl.4gbcs6</title></dataset></eml:eml>"""


def test_a_catalogue_with_rights_and_citation(make, tmp_path):
    spec = Catalogue(source=DarwinCore(path=make(members={"eml.xml": EML})), out=tmp_path / "out")
    manifest = catalogue.build(spec)
    assert manifest["citation"] == "GBIF Occurrence Download https://doi.org/10.15468/dl.4gbcs6"
    assert manifest["data"]["doi"] == "10.15468/dl.4gbcs6"
    assert manifest["data"]["media_licenses"] == {"CC-BY-4.0": 2}
    assert manifest["counts"] == {"input": 2, "ok": 2, "quarantined": 0, "skipped": 0}
    rights = tables.read(tmp_path / "out/rights.parquet", "", RIGHTS)
    assert rights["specimen_id"].to_pylist() == catalogue.read(spec.out)["specimen_id"].to_pylist()


def test_an_archive_without_images_says_so(make, tmp_path):
    spec = Catalogue(source=DarwinCore(path=make(media=[])), out=tmp_path / "out")
    with pytest.raises(ValueError, match=r"no row can be used \(no_image: 2\).*setting `images`"):
        catalogue.build(spec)


def test_too_many_bad_rows_are_an_error_of_the_catalogue(make, tmp_path):
    core = [occurrence(1), occurrence(2)[:-1]]
    spec = Catalogue(source=DarwinCore(path=make(core=core, media=[picture(1)])), out=tmp_path / "out")
    with pytest.raises(QuarantineLimit, match="1 of 2 rows were refused"):
        catalogue.build(spec)


def test_nothing_is_left_on_the_disk(make, read, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    read(make())
    with pytest.raises(ValueError, match="no <core>"):
        read(make(members={"meta.xml": "<html/>"}))
    assert list((tmp_path / "scratch").iterdir()) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["archive.zip", "scratch"]

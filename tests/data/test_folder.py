import csv
import os
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from herbray.config import ConfigError, parse
from herbray.data.sources.base import Account, GuardedFolder
from herbray.data.sources.folder import Folder
from herbray.schema import CATALOGUE, MASKED_CATALOGUE

SHARED = Path(__file__).parents[2].parent / "shared/data"


def read(source):
    refused = []
    table = pa.Table.from_batches(source.read(lambda *row: refused.append(row)), schema=CATALOGUE)
    return table, refused


def write(folder, header, rows, encoding="utf-8"):
    with (folder / "labels.csv").open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def sheets(tmp_path):
    folder = tmp_path / "sheets"
    (folder / "images").mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (40, 60), "beige").save(folder / f"images/{name}.jpg")
    return folder


def test_columns_of_the_catalogues_own_names_need_no_mapping(sheets):
    rows = [["images/a.jpg", "Rubus caesius", "NY", "x"], ["images/b.jpg", "Zea mays", "K", "y"]]
    write(sheets, ["image", "species", "institution", "shelf"], rows)
    table, refused = read(Folder(path=sheets))
    assert refused == []
    assert table["specimen_id"].to_pylist() == ["images/a.jpg", "images/b.jpg"]
    assert table["species"].to_pylist() == ["Rubus caesius", "Zea mays"]
    assert table["family"].null_count == 2
    for path in table["image"].to_pylist():
        assert Path(path).is_absolute()
        with Image.open(path) as image:
            assert image.size == (40, 60)


def test_mapping_and_constants(sheets):
    write(sheets, ["file", "barcode", "who", "institution"], [["images/a.jpg", "K1", "Spruce 12 1854", "wrong"]])
    columns = {"image": "file", "specimen_id": "barcode", "gathering": "who"}
    table, _ = read(Folder(path=sheets, columns=columns, constants={"institution": "K"}))
    row = table.to_pylist()[0]
    assert (row["specimen_id"], row["gathering"], row["institution"]) == ("K1", "Spruce 12 1854", "K")


def test_a_gathering_is_made_of_collector_number_and_date(sheets):
    row = ["images/a.jpg", "Spruce, R.", "12", "1854-03-01"]
    write(sheets, ["image", "recordedBy", "recordNumber", "eventDate"], [row, ["images/b.jpg", "Spruce, R.", "", ""]])
    table, _ = read(Folder(path=sheets))
    assert table["gathering"].to_pylist() == ["spruce | 12 | 1854-03-01", ""]
    assert read(Folder(path=sheets, constants={"gathering": "g"}))[0]["gathering"].to_pylist() == ["g", "g"]
    write(sheets, ["image", "Leg.", "Coll No", "gathering"], [[*row[:3], "g"]])
    columns = {"recorded_by": "Leg.", "record_number": "Coll No"}
    assert read(Folder(path=sheets, columns=columns))[0]["gathering"].to_pylist() == ["g"]  # the column comes first
    write(sheets, ["image", "Leg.", "Coll No"], [row[:3]])
    assert read(Folder(path=sheets, columns=columns))[0]["gathering"].to_pylist() == ["spruce | 12"]
    assert read(Folder(path=sheets, columns={"recorded_by": "Leg."}))[0]["gathering"].to_pylist() == [None]


def test_boxes_are_one_for_all_sheets_or_of_a_mapped_column(sheets):
    write(sheets, ["image", "label area"], [["images/a.jpg", "0 0 1 .1"]])
    for given in ({"columns": {"mask_boxes": "label area"}}, {"constants": {"mask_boxes": "0 0 1 .1"}}):
        (batch,) = Folder(path=sheets, **given).read(lambda *row: pytest.fail(str(row)))
        assert batch.schema.equals(MASKED_CATALOGUE)
        assert batch["mask_boxes"].to_pylist() == ["0 0 1 .1"]


def test_a_spreadsheets_byte_order_mark_and_quoted_line_breaks(sheets):
    write(sheets, ["image", "rights_holder"], [["images/a.jpg", 'Kew,\n"RBG"'], ["images/b.jpg", "Kew"]], "utf-8-sig")
    table, refused = read(Folder(path=sheets))
    assert table["rights_holder"].to_pylist() == ['Kew,\n"RBG"', "Kew"]
    assert refused == []


def test_paths_that_leave_the_folder_are_refused(sheets):
    secret = sheets.parent / "secret.jpg"
    secret.write_bytes(b"secret")
    (sheets / "images/link.jpg").symlink_to(secret)
    (sheets / "images/inner.jpg").symlink_to("a.jpg")
    (sheets / "away").symlink_to(sheets.parent)
    (sheets / "loop").symlink_to("loop")
    bad = [
        str(secret),
        "../secret.jpg",
        "images/../../secret.jpg",
        "images/link.jpg",
        "away/secret.jpg",
        "images/..",
        "/",
    ]
    good = ["images/a.jpg", "images/inner.jpg", "./images//b.jpg", "images/absent.jpg", "nowhere/c.jpg"]
    write(sheets, ["image"], [[name] for pair in zip(bad, good + good, strict=False) for name in pair])
    table, refused = read(Folder(path=sheets))
    assert [row[1] for row in refused] == bad
    assert {row[2] for row in refused} == {"outside"}
    assert len(table) == len(bad)
    assert all(os.path.realpath(path).startswith(str(sheets.resolve()) + "/") for path in table["image"].to_pylist())


def test_rows_with_a_wrong_number_of_fields_are_refused_with_their_line(sheets):
    write(sheets, ["image", "genus"], [["images/a.jpg", "A\nB"], ["images/b.jpg"], ["images/b.jpg", "B", "C"]])
    table, refused = read(Folder(path=sheets))
    assert len(table) == 1
    assert [row[2:] for row in refused] == [
        ("fields", "labels.csv, line 4: 1 fields where the header has 2"),
        ("fields", "labels.csv, line 5: 3 fields where the header has 2"),
    ]


def test_a_missing_column_is_reported_with_a_remedy(sheets):
    write(sheets, ["file", "genus"], [["images/a.jpg", "A"]])
    with pytest.raises(
        ValueError,
        match=r"labels\.csv \(text, comma, utf-8\): no column 'image'; the columns are 'file', .*columns=\{image: file",
    ):
        read(Folder(path=sheets))
    with pytest.raises(ValueError, match=r"no column 'Sammler'.*holds the gathering"):
        read(Folder(path=sheets, columns={"image": "file", "gathering": "Sammler"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"image,genus\na.jpg,A\nb.jpg,Isoe\xebtes\n",
            r"line 3: not UTF-8 .*or choose: encoding=cp1252 would read 'b.jpg,Isoeëtes'; encoding=mac_roman would",
        ),
        (b"", "empty; write a header"),
        (b"image,genus,Genus \n", r"names Genus more than once \(columns 2 and 3\); rename one"),
        (b"\x1f\x8bxxxxxxxx", "compressed; unpack it first"),
        ("image,genus\n".encode("utf-16-le"), "UTF-16 without a byte order mark; set encoding=utf-16-le"),
        ("image,genus\n".encode("utf-16-be"), "set encoding=utf-16-be"),
        (b"image,x;y\n", "comma and semicolon split the lines equally well"),
    ],
)
def test_a_broken_table_is_an_error_that_names_the_line(sheets, content, message):
    (sheets / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(Folder(path=sheets))


def test_an_absent_table_is_reported(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read(Folder(path=tmp_path))


def test_unknown_and_doubled_settings_are_reported():
    with pytest.raises(ConfigError, match="'genera' is not a catalogue column; did you mean 'genus'"):
        parse(Folder, {"path": "x", "columns": {"genera": "g"}})
    with pytest.raises(ConfigError, match="keep one"):
        parse(Folder, {"path": "x", "columns": {"genus": "g"}, "constants": {"genus": "A"}})


def test_settings_of_a_table_are_checked():
    with pytest.raises(ConfigError, match="one character, or one of: comma, semicolon, tab, vertical bar"):
        parse(Folder, {"path": "x", "delimiter": "::"})
    with pytest.raises(ConfigError, match="no such encoding; usual ones are utf-8"):
        parse(Folder, {"path": "x", "encoding": "latin-99"})
    assert parse(Folder, {"path": "x", "delimiter": "tab", "encoding": "latin-1"}).delimiter == "\t"


def test_stray_quotes_and_short_rows_are_refused_with_their_lines(sheets):
    lines = ["Image ;GENUS;;", 'images/a.jpg;"Rubus;;', "images\\b.JPG;Zea;;", "images/b.jpg;Zea;x", "a.jpg", ";;;", ""]
    (sheets / "labels.csv").write_text("\n".join(lines), encoding="cp1252")
    account = Account()
    refused = []
    (batch,) = Folder(path=sheets, encoding="cp1252").read(lambda *row: refused.append(row), account)
    assert batch["image"].to_pylist() == [str(sheets / "images/b.jpg")]
    assert batch["genus"].to_pylist() == ["Zea"]
    assert [(row[2], row[3].partition(":")[0]) for row in refused] == [
        ("quote", "labels.csv, line 2"),
        ("fields", "labels.csv, line 4"),
        ("fields", "labels.csv, line 5"),
    ]
    assert account.skipped == {"blank": 1}


def test_another_table_in_the_folder_is_suggested(sheets):
    (sheets / "Labels.XLSX").touch()
    with pytest.raises(ValueError, match=r"labels\.csv: no such file; set labels=Labels\.XLSX"):
        read(Folder(path=sheets))
    with pytest.raises(ValueError, match="set `path` to the folder of the images"):
        read(Folder(path=sheets / "absent"))


def test_rows_are_streamed_in_batches(sheets, monkeypatch):
    monkeypatch.setattr("herbray.data.sources.folder.BATCH_ROWS", 3)
    write(sheets, ["image"], [[f"images/{i}.jpg"] for i in range(7)])
    assert [batch.num_rows for batch in Folder(path=sheets).read(print)] == [3, 3, 1]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("pollen73", {"image": "file"}),
        ("herbarium_leaves6", {"image": "file", "gathering": "sheet", "species": "class_name"}),
    ],
)
def test_real_folders_of_labelled_images(name, columns):
    if not (SHARED / name).is_dir():
        pytest.skip("the shared data are not here")
    table, refused = read(Folder(path=SHARED / name, columns=columns))
    assert refused == []
    assert len(table) > 2000
    for column in ("order", "family", "genus", "species"):
        assert table[column].null_count == 0
    assert Path(table["image"][0].as_py()).is_file()


def test_names_that_are_absolute_go_up_or_run_in_a_circle_are_not_located(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.jpg").touch()
    (tmp_path / "circle").symlink_to("circle")
    folder = GuardedFolder(tmp_path)
    assert folder.locate("inside/a.jpg") == str(tmp_path / "inside/a.jpg")
    for name in ("inside/../inside/a.jpg", str(tmp_path / "inside/a.jpg"), "circle/a.jpg", "circle", "in\0side/a.jpg"):
        assert folder.locate(name) is None, name

"""The challenges of 2019, 2020 and 2022, in the layouts that their READMEs describe."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pytest

from herbray import schema
from herbray.config import parse
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.sources import Herbarium2019, Herbarium2020, Herbarium2022

GENUINE = Path(__file__).parents[2].parent / "shared/data/fgvc_metadata/h22_miniv1_val.tsv"


def read(source):
    refused = []
    return pa.Table.from_batches(source.read(lambda *row: refused.append(row)), schema=schema.CATALOGUE), refused


def metadata_2022(rows):
    """`train_metadata.json` of rows with the columns of the genuine annotations."""
    kinds = {row["category_id"]: row for row in rows}
    return {
        "annotations": [
            {"genus_id": int(row["genus_id"]), "institution_id": int(row["institution_id"])}
            | {"category_id": int(row["category_id"]), "image_id": row["image_id"]}
            for row in rows
        ],
        "images": [{"image_id": row["image_id"], "file_name": file_2022(row), "license": 0} for row in rows],
        "categories": [
            {"category_id": int(number)}
            | {name: row[name] for name in ("scientificName", "family", "genus", "species", "authors")}
            for number, row in kinds.items()
        ],
        "genera": [{"genus_id": int(row["genus_id"]), "genus": row["genus"]} for row in kinds.values()],
        "institutions": [
            {"institution_id": number, "collectionCode": f"C{number}"}
            for number in sorted({int(row["institution_id"]) for row in rows})
        ],
        "distances": [{"genus_id_x": 0, "genus_id_y": 1, "distance": 0.5}],
        "licenses": [{"id": 0, "name": "CC BY-NC", "url": "u"}],
        "license": [],
    }


def file_2022(row):
    number = row["image_id"].partition("__")[0]
    return f"{number[:3]}/{number[3:]}/{row['image_id']}.jpg"


ROW = {
    "genus_id": "4",
    "institution_id": "21",
    "category_id": "26",
    "image_id": "00026__004",
    "scientificName": "Abutilon berlandieri A.Gray",
    "family": "Malvaceae",
    "genus": "Abutilon",
    "species": "berlandieri",
    "authors": "A.Gray",
}


def test_2022_has_images_beside_the_metadata_and_ids_that_are_texts(tmp_path):
    content = metadata_2022([ROW])
    content["images"] += [{"image_id": "../x", "file_name": "x.jpg"}, {"image_id": 7, "file_name": "7.jpg"}]
    (tmp_path / "train_metadata.json").write_text(json.dumps(content))
    (tmp_path / "train_images").mkdir()
    table, refused = read(Herbarium2022(path=tmp_path))
    assert table.to_pylist() == [
        dict.fromkeys(schema.CATALOGUE.names)
        | {
            "specimen_id": "herbarium-2022/00026__004",
            "image": str(tmp_path / "train_images/000/26/00026__004.jpg"),
            "order": "",
            "family": "Malvaceae",
            "genus": "Abutilon",
            "species": "Abutilon berlandieri",
            "institution": "C21",
            "license": "CC BY-NC",
        }
    ]
    assert [row[2] for row in refused] == ["malformed", "malformed"]
    with pytest.raises(ValueError, match=r"contains neither train_metadata\.json nor"):
        read(Herbarium2022(path=tmp_path / "elsewhere"))


@pytest.mark.skipif(not GENUINE.exists(), reason="needs the genuine annotations")
def test_genuine_annotations_of_2022_become_a_catalogue(tmp_path):
    with GENUINE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    (tmp_path / "train_metadata.json").write_text(json.dumps(metadata_2022(rows)))
    spec = parse(Catalogue, {"source": {"name": "herbarium_2022", "path": str(tmp_path)}, "out": str(tmp_path / "out")})
    manifest = catalogue.build(spec)
    table = catalogue.read(spec.out)
    assert manifest["counts"]["ok"] == len(rows) == 9315
    assert (manifest["names"]["genus"], manifest["names"]["family"]) == (829, 162)
    assert len(manifest["institutions"]) == 46
    wanted = {f"herbarium-2022/{row['image_id']}": row for row in rows}
    for row in table.select(["specimen_id", "family", "genus", "species"]).to_pylist():
        assert row["genus"] == wanted[row["specimen_id"]]["genus"].removeprefix("×").removeprefix("x ")
        assert row["family"] == wanted[row["specimen_id"]]["family"]


def test_2020_is_all_of_new_york_and_regions_are_not_used(tmp_path):
    (tmp_path / "train").mkdir()
    content = {
        "annotations": [{"id": 0, "image_id": 7, "category_id": 1, "region_id": 3}],
        "categories": [{"id": 1, "name": "Rubus caesius", "family": "Rosaceae", "genus": "Rubus"}],
        "images": [{"id": 7, "file_name": "images/000/01/7.jpg"}, {"id": 8, "file_name": "images/000/01/8.jpg"}],
        "regions": [{"id": 3, "name": "Neotropics"}],
    }
    (tmp_path / "train/metadata.json").write_text(json.dumps(content))
    table, refused = read(Herbarium2020(path=tmp_path))
    assert refused == []
    columns = ("specimen_id", "family", "genus", "species", "institution")
    assert [tuple(row[name] for name in columns) for row in table.to_pylist()] == [
        ("herbarium-2020/7", "Rosaceae", "Rubus", "Rubus caesius", "NY"),
        ("herbarium-2020/8", None, None, None, "NY"),
    ]
    assert table["image"][0].as_py() == str(tmp_path / "train/images/000/01/7.jpg")


@pytest.mark.parametrize("size", ["", "small-"])
def test_2019_is_read_from_its_folders(tmp_path, size):
    for name in ("train/1/00000", "train/2/00000", "validation/1/00000", "test/00000"):
        path = tmp_path / f"{size}{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / f"{size}train/2/00001.jpg").symlink_to("/etc/passwd")
    (tmp_path / f"{size}train/readme.txt").touch()
    table, refused = read(Herbarium2019(path=tmp_path))
    assert [(row["specimen_id"], row["species"], row["family"]) for row in table.to_pylist()] == [
        ("herbarium-2019/train/1/00000", "category 1", "Melastomataceae"),
        ("herbarium-2019/train/2/00000", "category 2", "Melastomataceae"),
        ("herbarium-2019/validation/1/00000", "category 1", "Melastomataceae"),
        ("herbarium-2019/test/00000", None, "Melastomataceae"),
    ]
    assert [row[0::2] for row in refused] == [("herbarium-2019/train/2/00001", "outside")]
    spec = parse(Catalogue, {"source": {"name": "herbarium_2019", "path": str(tmp_path)}, "out": str(tmp_path / "out")})
    manifest = catalogue.build(spec.model_copy(update={"max_quarantined": 1.0}))
    assert (manifest["names"]["species"], manifest["names"]["genus"]) == (2, 0)
    with pytest.raises(ValueError, match="contains neither train nor small-train"):
        read(Herbarium2019(path=tmp_path / "out"))

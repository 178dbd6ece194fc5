import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray import storage
from herbray.config import ConfigError, dump, parse
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue, QuarantineLimit, fingerprint, name_images
from herbray.data.names.parse import parse_name
from herbray.data.sources import SOURCES, Folder, HalfEarth
from herbray.data.sources.base import make_batch
from herbray.data.splitting.splits import Splits, split
from herbray.schema import CATALOGUE, MASKED_CATALOGUE, QUARANTINE, VERSION

SHARED = Path(__file__).parents[2].parent / "shared/data"


def job(tmp_path, lines, **settings):
    sheets = tmp_path / "sheets"
    sheets.mkdir(exist_ok=True)
    (sheets / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    return Catalogue(source=Folder(path=sheets), out=tmp_path / "catalogue", **settings)


def quarantine(spec):
    return pq.read_table(spec.out / "quarantine.parquet")


def test_a_catalogue_is_written_and_read_back(tmp_path):
    spec = job(tmp_path, ["image,specimen_id,species", "a.jpg,K1,Rubus caesius", "b.jpg,K2,Zea mays"])
    manifest = catalogue.build(spec)
    table = catalogue.read(spec.out)
    assert table.schema.equals(CATALOGUE)
    assert quarantine(spec).schema.equals(QUARANTINE)
    assert table["genus"].to_pylist() == ["Rubus", "Zea"]
    assert manifest == catalogue.read_manifest(spec.out)
    assert manifest["counts"] == {"input": 2, "ok": 2, "quarantined": 0, "skipped": 0}
    assert manifest["schema_version"] == VERSION
    assert manifest["source"]["name"] == "folder"
    assert sorted(path.name for path in spec.out.iterdir()) == [
        "catalogue.parquet",
        "conflicts.parquet",
        "manifest.json",
        "quarantine.parquet",
    ]


def test_text_is_tidied(tmp_path):
    lines = [
        "image,specimen_id,species,genus,family,institution",
        "a.jpg , K1 ,  Isoe\u0308tes   lacustris\t,, \u00a0 , NY ",
        "b.jpg,K2,indet.,Zea,,",
        "c.jpg,K3,,,,",
    ]
    spec = job(tmp_path, lines)
    manifest = catalogue.build(spec)
    first, second, third = catalogue.read(spec.out).to_pylist()
    assert (first["specimen_id"], first["institution"], first["family"]) == ("K1", "NY", None)
    assert (first["species"], first["genus"]) == ("Isoëtes lacustris", "Isoëtes")
    assert (second["genus"], second["institution"]) == ("Zea", None)
    assert (third["genus"], third["species"]) == (None, None)
    assert manifest["undetermined"] == 1


def test_a_files_name_is_left_as_it_is(tmp_path):
    images = [{"id": number, "file_name": name} for number, name in enumerate(["a.jpg ", " b.jpg"])]
    (tmp_path / "metadata.json").write_text(json.dumps({"images": images}))
    catalogue.build(Catalogue(source=HalfEarth(path=tmp_path), out=tmp_path / "out"))
    paths = catalogue.read(tmp_path / "out")["image"].to_pylist()
    assert paths == [f"{tmp_path}/a.jpg ", f"{tmp_path}/ b.jpg"]


def test_refused_rows_go_to_quarantine_and_the_counts_add_up(tmp_path):
    lines = ["image,specimen_id,genus", "a.jpg,K1,A", "b.jpg,,A", ",K2,A", "c.jpg,K1,B", "../d.jpg,K3,A", "e.jpg,K4"]
    spec = job(tmp_path, [*lines, "f.jpg,K2,A"], max_quarantined=1)
    manifest = catalogue.build(spec)
    assert catalogue.read(spec.out)["image"].to_pylist() == [str(tmp_path / "sheets" / n) for n in ("a.jpg", "f.jpg")]
    assert manifest["counts"] == {"input": 7, "ok": 2, "quarantined": 5, "skipped": 0}
    assert manifest["reasons"] == {"duplicate": 1, "fields": 1, "no_id": 1, "no_image_path": 1, "outside": 1}
    rows = {row["reason"]: row for row in quarantine(spec).to_pylist()}
    assert rows["duplicate"]["specimen_id"] == "K1"
    assert rows["duplicate"]["image"].endswith("c.jpg")
    assert rows["outside"]["image"] == "../d.jpg"
    assert {row["stage"] for row in rows.values()} == {"catalogue"}


def test_an_image_of_several_specimens_stays_on_one_side_of_the_splits(tmp_path):
    lines = [f"{number % 40}.jpg,K{number},{'AB'[number % 2]}" for number in range(60)]
    spec = job(tmp_path, ["image,specimen_id,genus", *lines])
    manifest = catalogue.build(spec)
    table = catalogue.read(spec.out)
    assert table["gathering"].to_pylist()[0] == table["gathering"].to_pylist()[40] == "image 0.jpg"
    assert table["gathering"].to_pylist()[39] is None
    assert "images of several specimens: 20 (40 rows; 0 with different species)" in manifest["notes"][0]
    sides = split(table, Splits(home=None, species=0, random=0.3, cap=None), seed=1).to_pylist()
    assert len(set(sides)) > 1
    assert sides[:20] == sides[40:]


def test_boxes_are_an_optional_column_and_malformed_ones_are_refused(tmp_path):
    lines = ["image,genus,mask_boxes", "a.jpg,A,0 0 .5 .5; .6 0.6 1 1", "b.jpg,A,", "c.jpg,A,none"]
    bad = ["d.jpg,A,1 2 3", "e.jpg,A,0 0 2 2", "f.jpg,A,1 2 3"]
    spec = job(tmp_path, [*lines, *bad], max_quarantined=1)
    manifest = catalogue.build(spec)
    table = catalogue.read(spec.out)
    assert table.schema.equals(MASKED_CATALOGUE)
    assert table["mask_boxes"].to_pylist() == ["0 0 .5 .5; .6 0.6 1 1", None, "none"]
    assert manifest["reasons"] == {"mask_boxes": 3}
    assert {Path(row["image"]).name for row in quarantine(spec).to_pylist()} == {"d.jpg", "e.jpg", "f.jpg"}
    assert all("is not a box" in row["detail"] for row in quarantine(spec).to_pylist())


def test_boxes_count_in_the_fingerprint_only_if_there_are_any(tmp_path):
    def fingerprint_of(lines):
        return catalogue.build(job(tmp_path, lines))["fingerprint"]

    without = fingerprint_of(["image,genus", "a.jpg,A"])
    found = [
        fingerprint_of(["image,genus,mask_boxes", f"a.jpg,A,{boxes}"]) for boxes in ("none", "0 0 .5 1", "0 0 .5 1")
    ]
    assert len({without, *found}) == 3
    assert found[1] == found[2]
    assert fingerprint_of(["image,genus,boxes", "a.jpg,A,12"]) == without  # another column of theirs


def test_too_many_refusals_raise_after_everything_is_written(tmp_path):
    spec = job(tmp_path, ["image,genus", *(f"{i}.jpg,A" for i in range(9)), "../x.jpg,A"], max_quarantined=0.09)
    with pytest.raises(QuarantineLimit, match=r"1 of 10 rows were refused \(outside: 1\)"):
        catalogue.build(spec)
    assert len(catalogue.read(spec.out)) == 9
    assert len(quarantine(spec)) == 1
    catalogue.build(spec.model_copy(update={"max_quarantined": 0.1}))


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_the_share_of_refusals_is_at_most_the_whole(tmp_path, share):
    with pytest.raises(ConfigError, match="max_quarantined"):
        parse(Catalogue, {"source": {"name": "folder", "path": str(tmp_path)}, "max_quarantined": share})


def test_a_catalogue_of_nothing_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="has no rows"):
        catalogue.build(job(tmp_path, ["image,genus"]))
    with pytest.raises(QuarantineLimit):
        catalogue.build(job(tmp_path, ["image,genus", "../a.jpg,A"], max_quarantined=1))


def test_reading_what_is_no_catalogue(tmp_path):
    with pytest.raises(ValueError, match="this file is missing; run `herbray catalogue`"):
        catalogue.read(tmp_path)
    spec = job(tmp_path, ["image,genus", "a.jpg,A", "b.jpg,B"])
    catalogue.build(spec)
    whole = (spec.out / "manifest.json").read_text()
    for wrong, message in (
        (whole.replace('"ok": 2', '"ok": 3'), "manifest.json: damaged, it was changed after it was written; run `herb"),
        (whole[:40], "manifest.json: damaged, it is not JSON"),
        ("[]", "manifest.json: damaged, it is not a JSON object"),
    ):
        (spec.out / "manifest.json").write_text(wrong)
        with pytest.raises(ValueError, match=message):
            catalogue.read(spec.out)
    (spec.out / "manifest.json").write_text(whole)
    manifest = catalogue.read_manifest(spec.out)
    storage.write_note(spec.out / "manifest.json", manifest | {"counts": {"ok": 3}})
    with pytest.raises(ValueError, match="do not match"):
        catalogue.read(spec.out)
    storage.write_note(spec.out / "manifest.json", manifest | {"schema_version": 99})
    with pytest.raises(ValueError, match="tables have version 99"):
        catalogue.read(spec.out)
    (spec.out / "manifest.json").write_text(whole)
    (spec.out / "catalogue.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(ValueError, match=r"catalogue\.parquet: damaged, truncated or not a Parquet file; run `her"):
        catalogue.read(spec.out)


def test_a_failed_rebuild_does_not_pass_for_the_older_catalogue(tmp_path):
    spec = job(tmp_path, ["image,genus", "a.jpg,A"])
    catalogue.build(spec)
    (spec.out / "quarantine.parquet").unlink()
    (spec.out / "quarantine.parquet").mkdir()  # the second file cannot be put in place
    with pytest.raises(OSError, match="quarantine"):
        catalogue.build(spec)
    with pytest.raises(ValueError, match="this file is missing; run `herbray catalogue`"):
        catalogue.read(spec.out)
    assert not list(spec.out.glob(".*"))


texts = st.none() | st.text(st.characters(codec="utf-8"), max_size=4)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), st.randoms(), st.integers(1, 3))
def test_the_fingerprint_does_not_depend_on_order_chunks_or_place(pairs, random, cut):
    rows = [(f"K{i}", f"/one/place/{i}.jpg", genus, species) for i, (genus, species) in enumerate(pairs)]

    def table(rows, place):
        columns = dict(zip(("specimen_id", "image", "genus", "species"), zip(*rows, strict=True), strict=True))
        columns["image"] = [image.replace("/one/place", place) for image in columns["image"]]
        return pa.Table.from_batches([make_batch({name: list(column) for name, column in columns.items()})])

    expected = fingerprint(table(rows, "/one/place"), "/one/place")
    shuffled = random.sample(rows, len(rows))
    assert (
        fingerprint(
            pa.concat_tables([table(shuffled, "/else").slice(0, cut), table(shuffled, "/else").slice(cut)]), "/else"
        )
        == expected
    )
    changed = [*rows[:-1], (*rows[-1][:2], rows[-1][3], rows[-1][2])]
    assert (fingerprint(table(changed, "/one/place"), "/one/place") == expected) == (changed == rows)


@pytest.mark.parametrize(
    ("image", "root", "name"),
    [
        ("/data/sheets/k/1.jpg", "/data/sheets", "k/1.jpg"),
        ("/data/sheets/k/1.jpg", "/data/sheets/", "k/1.jpg"),
        ("/data/sheets 2/1.jpg", "/data/sheets", "/data/sheets 2/1.jpg"),
        ("/else/1.jpg", "/data/sheets", "/else/1.jpg"),
        ("/1.jpg", "/", "1.jpg"),
        ("s3://herbaria/k/1.jpg", "s3://herbaria", "k/1.jpg"),
        ("https://iiif.example/1.jpg", "/data/sheets", "https://iiif.example/1.jpg"),
        ("/data/Zoë/é/1.jpg", "/data/Zoë", "é/1.jpg"),
    ],
)
def test_an_image_is_named_by_its_path_below_its_source(image, root, name):
    assert name_images(pa.chunked_array([[image]]), root).to_pylist() == [name]


def test_specimens_of_another_folder_leave_the_names_of_the_others_as_they_are(tmp_path):
    manifests = {}
    for place, more in (("one", []), ("two", []), ("two", ["b/2.jpg,A"])):
        (tmp_path / place).mkdir(exist_ok=True)
        spec = job(tmp_path / place, ["image,genus", "a/1.jpg,A", *more])
        manifests[place, len(more)] = catalogue.build(spec)
        table, root = catalogue.read(spec.out), manifests[place, len(more)]["root"]
        assert name_images(table["image"], root).to_pylist()[0] == "a/1.jpg"
    assert manifests["one", 0]["fingerprint"] == manifests["two", 0]["fingerprint"]


@pytest.mark.parametrize("layout", ["folder", "half_earth"])
def test_the_fingerprint_does_not_depend_on_how_the_folder_is_spelled(tmp_path, monkeypatch, layout):
    drawn = {"name": "synthetic", "path": str(tmp_path / "a"), "layout": layout, "sheets": 8, "size": 32}
    sizes = {"orders": 1, "families": 1, "genera": 2, "species": 2}
    catalogue.build(parse(Catalogue, {"source": drawn | sizes, "out": str(tmp_path / "out")}))
    (tmp_path / "link").symlink_to(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    spelled = [tmp_path / "a", "a", "link", "a/../link"]
    spelled += ["a/train", "link/train/metadata.json"] if layout == "half_earth" else []
    prints = set()
    for path in spelled:
        prints.add(
            catalogue.build(parse(Catalogue, {"source": {"name": layout, "path": path}, "out": "read"}))["fingerprint"]
        )
    assert len(prints) == 1


def test_the_fingerprint_distinguishes_values_that_concatenate_equally():
    def of(**columns):
        base = {"specimen_id": ["1", "2"], "image": ["a", "b"]}
        return fingerprint(pa.Table.from_batches([make_batch(base | columns)]), "/")

    tables = [{}, {"genus": ["ab", "c"]}, {"genus": ["a", "bc"]}, {"species": ["ab", "c"]}, {"genus": ["", None]}]
    assert len({of(**columns) for columns in tables}) == len(tables)


@pytest.mark.parametrize(
    ("species", "genus"),
    [
        ("Rubus caesius", "Rubus"),
        ("Rubus", "Rubus"),
        ("Zea_mays", "Zea"),
        ("× Sorbaronia fallax", "Sorbaronia"),
        ("×Sorbaronia fallax", "Sorbaronia"),
        ("x Sorbaronia fallax", "Sorbaronia"),
        ("Isoëtes lacustris", "Isoëtes"),
        ("Uva-ursi buxifolia", "Uva-ursi"),
        ("zea_mays", "Zea"),
        ("indet.", None),
        ("R. caesius", None),
        ("sp. 3", None),
        ("", None),
    ],
)
def test_the_genus_of_a_species(species, genus):
    assert parse_name(species).genus == genus


def test_a_batch_of_unknown_columns_is_refused():
    with pytest.raises(ValueError, match="genera: no such catalogue column"):
        make_batch({"genera": ["A"]})


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_chosen_by_its_name_and_comes_back_from_yaml(name, tmp_path):
    spec = parse(Catalogue, {"source": {"name": name, "path": str(tmp_path)}})
    assert type(spec.source) is SOURCES[name]
    (tmp_path / "job.yaml").write_text(dump(spec))
    assert parse(Catalogue, json.loads(spec.model_dump_json())) == spec
    with pytest.raises(ConfigError, match=r"source\.pth: unknown key; did you mean 'path'"):
        parse(Catalogue, {"source": {"name": name, "path": "x", "pth": 1}})


@pytest.mark.slow
def test_the_synthetic_herbarium_reads_the_same_from_both_layouts(tmp_path):
    tables = {}
    for layout, source in (("folder", "folder"), ("half_earth", "half_earth")):
        drawn = {"name": "synthetic", "path": str(tmp_path / layout), "layout": layout, "sheets": 40, "size": 32}
        sizes = {"orders": 2, "families": 3, "genera": 4, "species": 8}
        catalogue.build(parse(Catalogue, {"source": drawn | sizes, "out": str(tmp_path / layout / "drawn")}))
        given = {"source": {"name": source, "path": str(tmp_path / layout)}, "out": str(tmp_path / layout / "read")}
        catalogue.build(parse(Catalogue, given))
        tables[layout] = catalogue.read(tmp_path / layout / "read")
        assert all(Path(path).is_file() for path in tables[layout]["image"].to_pylist())
    for column in ("order", "family", "genus", "species"):
        assert sorted(tables["folder"][column].to_pylist()) == sorted(tables["half_earth"][column].to_pylist())


def test_a_real_folder_from_labels_to_splits(tmp_path):
    if not (SHARED / "herbarium_leaves6").is_dir():
        pytest.skip("the shared data are not here")
    columns = {"image": "file", "gathering": "sheet", "species": "class_name"}
    spec = Catalogue(source=Folder(path=SHARED / "herbarium_leaves6", columns=columns), out=tmp_path)
    manifest = catalogue.build(spec)
    assert manifest["counts"]["quarantined"] == 0
    table = catalogue.read(tmp_path)
    side = split(table, Splits(home=None, species=0, cap=None), seed=89)
    sides = table.append_column("side", side).group_by("gathering").aggregate([("side", "count_distinct")])
    assert set(sides["side_count_distinct"].to_pylist()) == {1}

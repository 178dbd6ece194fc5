import csv
import io
import json
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import simplejpeg
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from herbray import schema
from herbray.config import ConfigError, parse
from herbray.data.sources.synthetic import Synthetic, names
from herbray.data.sources.synthetic.drawing.sheet import draw_sheet, list_boxes
from herbray.data.sources.synthetic.flora import FloraSizes, grow_flora
from herbray.data.sources.synthetic.source import make_subject
from herbray.data.sources.synthetic.specimens import collect_specimens

TAXONOMY = Path(__file__).parents[2].parent / "shared/data/taxonomy"


def refuse(*row):
    raise AssertionError(f"nothing is to be refused, but {row}")


def read(spec):
    return pa.Table.from_batches(list(spec.read(refuse)), schema=schema.MASKED_CATALOGUE)


def small(folder, **settings):
    given = {"sheets": 24, "size": 64, "seed": 7, "workers": 1, **settings}
    return Synthetic(path=folder, **given)


def collected(**settings):
    return collect_specimens(Synthetic(path="unused", **settings).collection)


def files(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    spec = small(tmp_path_factory.mktemp("synthetic") / "herbarium", sheets=40)
    return spec, read(spec)


@pytest.mark.slow
def test_every_row_has_a_real_jpeg_of_the_asked_width_and_real_proportions(drawn):
    spec, table = drawn
    assert table.num_rows == 40
    for path in table["image"].to_pylist():
        assert Path(path).is_absolute()
        with Image.open(path) as image:
            image.load()
            assert image.format == "JPEG"
            assert image.width == spec.size
            assert 1.38 <= image.height / image.width <= 1.56


def test_catalogue_columns_are_filled_and_ids_unique(drawn):
    _, table = drawn
    assert table.schema == schema.MASKED_CATALOGUE
    assert len(set(table["specimen_id"].to_pylist())) == table.num_rows
    for name in set(table.column_names) - {"reference"}:
        assert table[name].null_count == 0, name


def test_the_same_settings_draw_the_same_bytes_anywhere(drawn, tmp_path):
    spec, _ = drawn
    again = spec.model_copy(update={"path": tmp_path / "again"})
    read(again)
    assert files(again.path) == files(spec.path)


def test_another_seed_draws_other_sheets(drawn, tmp_path):
    spec, _ = drawn
    other = spec.model_copy(update={"path": tmp_path / "other", "seed": 8, "sheets": 3})
    read(other)
    name = "images/000/000000.jpg"
    assert (other.path / name).read_bytes() != (spec.path / name).read_bytes()


@pytest.mark.slow
def test_processes_draw_what_one_process_draws(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr("herbray.data.sources.synthetic.parallel_drawing.MAX_IN_PROCESS", 0)
    spec, _ = drawn
    pooled = spec.model_copy(update={"path": tmp_path / "pooled", "workers": 2})
    read(pooled)
    assert files(pooled.path) == files(spec.path)


def test_a_larger_herbarium_begins_with_the_smaller_one(drawn, tmp_path):
    spec, table = drawn
    first = spec.model_copy(update={"path": tmp_path / "first", "sheets": 11})
    beginning = read(first)
    assert beginning.drop_columns("image").equals(table.drop_columns("image").slice(0, 11))
    images = {name: data for name, data in files(first.path).items() if name.endswith(".jpg")}
    assert len(images) == 11
    assert images.items() <= files(spec.path).items()


@pytest.mark.parametrize(("shorter", "longer"), [(1, 2), (997, 5000), (4999, 5000)])
def test_the_table_of_a_larger_collection_begins_like_a_smaller_one(shorter, longer):
    some, more = collected(sheets=shorter), collected(sheets=longer)
    for name in ("gathering", "institution", "truth", "named", "collector", "field_number", "day"):
        assert np.array_equal(getattr(some, name), getattr(more, name)[:shorter]), name


def test_only_what_is_missing_is_drawn_again(tmp_path):
    spec = small(tmp_path / "herbarium", sheets=6)
    read(spec)
    before = {file: file.stat().st_mtime_ns for file in spec.path.rglob("*") if file.is_file()}
    lost = spec.path / "images/000/000004.jpg"
    kept = lost.read_bytes()
    lost.unlink()
    read(spec)
    assert lost.read_bytes() == kept
    after = {file: file.stat().st_mtime_ns for file in spec.path.rglob("*") if file.is_file()}
    assert {file for file in before if before[file] != after[file]} == {lost}
    assert before.keys() == after.keys()


def test_a_folder_of_other_settings_is_refused_with_what_differs(tmp_path):
    read(small(tmp_path / "herbarium", sheets=1))
    with pytest.raises(ValueError, match=r"seed 7 → 9.*choose another path"):
        read(small(tmp_path / "herbarium", sheets=1, seed=9))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    with pytest.raises(ValueError, match="not empty and contains no synthetic herbarium"):
        read(small(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_more_of_a_wide_rank_than_of_a_narrow_one_is_refused():
    with pytest.raises(ConfigError, match="3 genera are too few for 8 families"):
        parse(Synthetic, {"path": "x", "genera": 3})


def test_the_flora_is_a_tree_of_the_asked_size():
    taxa = grow_flora(FloraSizes(5, 8, 24, 96), 89)
    for narrow, wide in (("species", "genus"), ("genus", "family"), ("family", "order")):
        parents = {}
        for taxon in taxa:
            parents.setdefault(getattr(taxon, narrow), set()).add(getattr(taxon, wide))
        assert all(len(found) == 1 for found in parents.values())
    counts = [len({getattr(taxon, rank) for taxon in taxa}) for rank in schema.RANKS]
    assert counts == [5, 8, 24, 96]
    assert sum(taxon.share for taxon in taxa) == pytest.approx(1)


def test_names_follow_the_code_of_nomenclature_and_its_grammar():
    for taxon in grow_flora(FloraSizes(5, 10, 24, 300), 3):
        genus, epithet = taxon.species.split(" ")
        assert genus == taxon.genus
        assert genus.istitle()
        assert epithet.islower()
        assert epithet.endswith({"a": "a", "s": "us", "m": "um"}[genus[-1]])
        assert taxon.family.endswith("aceae")
        assert taxon.order.endswith("ales")


@pytest.mark.skipif(not TAXONOMY.is_dir(), reason="lists of real names are not here")
def test_no_default_name_is_a_real_plant_nor_a_code_a_real_herbarium():
    real = {rank: set((TAXONOMY / f"{rank}.txt").read_text().split()) for rank in ("genus", "family")}
    taxa = grow_flora(FloraSizes(5, 8, 24, 96), 89)
    assert not {taxon.genus for taxon in taxa} & real["genus"]
    assert not {taxon.family for taxon in taxa} & real["family"]
    with (TAXONOMY / "institutions_grscicoll.csv").open(newline="", encoding="utf-8") as file:
        codes = {row["code"] for row in csv.DictReader(file)}
    assert not {code for code, _ in names.HERBARIA} & codes


@pytest.mark.parametrize("species", [1, 2, 2000])
def test_floras_of_any_size_grow(species):
    spec = Synthetic(path="x", orders=1, families=1, genera=1, species=species, sheets=50, errors=0.5)
    table = collect_specimens(spec.collection)
    assert len({taxon.species for taxon in table.taxa}) == species
    assert (table.truth != table.named).any() == (species > 1)


def test_numbers_vary_less_within_a_genus_than_between_genera():
    taxa = grow_flora(FloraSizes(1, 1, 30, 300), 5)
    lengths = {}
    for taxon in taxa:
        lengths.setdefault(taxon.genus, []).append(taxon.traits.slenderness)
    within = np.mean([np.var(group) for group in lengths.values() if len(group) > 1])
    between = np.var([np.mean(group) for group in lengths.values()])
    assert within < between / 2


def test_the_share_of_wrong_names_is_as_asked_and_mostly_within_the_family():
    table = collected(sheets=20_000, errors=0.1)
    wrong = np.flatnonzero(table.truth != table.named)
    assert len(wrong) / 20_000 == pytest.approx(0.1, abs=0.01)
    pairs = [(table.taxa[table.truth[i]], table.taxa[table.named[i]]) for i in wrong]
    family = np.mean([true.family == named.family for true, named in pairs])
    genus = np.mean([true.genus == named.genus for true, named in pairs])
    assert family > 0.6
    assert genus < 0.4


@pytest.mark.slow
def test_a_wrong_sheet_shows_its_true_species_under_another_lineage(tmp_path):
    spec = small(tmp_path / "wrong", errors=1.0)
    table = read(spec).to_pylist()
    right = read(small(tmp_path / "right", errors=0.0)).to_pylist()
    for called, truly in zip(table, right, strict=True):
        assert called["species"] != called["true_species"]
        assert truly["species"] == truly["true_species"] == called["true_species"]
        assert called["genus"] == called["species"].split()[0]
        assert Path(called["image"]).read_bytes() == Path(truly["image"]).read_bytes()


def test_no_errors_and_no_duplicates_where_none_are_asked():
    table = collected(sheets=2000, errors=0, duplicates=0)
    assert np.array_equal(table.truth, table.named)
    assert np.array_equal(table.gathering, np.arange(2000))


def test_duplicates_have_the_asked_share_one_species_and_several_herbaria():
    table = collected(sheets=20_000, duplicates=0.2)
    gatherings = np.unique(table.gathering)
    assert 1 - len(gatherings) / 20_000 == pytest.approx(0.2, abs=0.02)
    order = np.argsort(table.gathering, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(table.gathering[order])) + 1)
    for group in (group for group in groups if len(group) > 1):
        assert len(set(table.truth[group])) == 1
        assert len(set(table.institution[group])) == len(group)
        assert len({(table.collector[i], table.field_number[i], table.day[i]) for i in group}) == 1


@pytest.mark.slow
def test_gatherings_are_distinguished_by_collector_number_and_date(tmp_path):
    table = read(small(tmp_path / "herbarium", sheets=60, duplicates=0.3))
    found = collect_specimens(small(tmp_path, sheets=60, duplicates=0.3).collection)
    assert len(set(table["gathering"].to_pylist())) == len(np.unique(found.gathering))


def test_the_home_herbarium_holds_most_and_floras_differ_between_herbaria():
    table = collected(sheets=20_000, duplicates=0)
    shares = np.bincount(table.institution, minlength=4) / 20_000
    assert shares[0] == pytest.approx(0.6, abs=0.02)
    assert (shares > 0.05).all()
    genera = np.unique([taxon.genus for taxon in table.taxa], return_inverse=True)[1][table.truth]
    counts = np.zeros((4, genera.max() + 1))
    np.add.at(counts, (table.institution, genera), 1)
    expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
    cramers_v = np.sqrt(((counts - expected) ** 2 / expected).sum() / counts.sum() / 3)
    assert 0.15 < cramers_v < 0.8  # confounded, yet no herbarium has a flora of its own
    assert (counts[0] > 0).mean() > 0.9


def test_collections_have_a_long_tail():
    table = collected(sheets=3600)
    counts = np.sort(np.bincount(table.truth, minlength=96))[::-1]
    assert counts[:10].sum() > 0.3 * 3600
    assert counts[48:].sum() < 0.25 * 3600


def other_signs(herbarium):
    """The same paper, bed, light and places, with another title, ruler, chart, stamp and label."""
    signs = {
        "title": "X",
        "ruler_dark": not herbarium.ruler_dark,
        "chart": "none",
        "ink": (250, 0, 0),
        "label": (0, 0, 90),
    }
    return replace(herbarium, **signs, stamp=herbarium.stamp if herbarium.stamp == "none" else "round")


@pytest.mark.parametrize("institution", range(8))
def test_boxes_hold_all_that_shows_the_herbarium_but_paper_light_and_envelope(institution):
    specimens = collected(sheets=400, institutions=8)
    number = int(np.flatnonzero(specimens.institution == institution)[0])
    subject = make_subject(specimens, number, 89)
    other = replace(subject, herbarium=other_signs(subject.herbarium), notes=("—",) * 4)
    one, two = (draw_sheet(each, 160, 89) for each in (subject, other))
    boxes = list_boxes(subject.herbarium, number, 160, 89)
    differs = (one != two).any(axis=2)
    assert differs.any()
    inside = np.zeros_like(differs)
    height, width = differs.shape
    for left, top, right, bottom in boxes:
        inside[int(top * height) : ceil(bottom * height), int(left * width) : ceil(right * width)] = True
    assert not (differs & ~inside).any()
    assert inside.mean() < 0.35


def test_labels_are_plain_csv_with_paths_inside_the_folder(drawn):
    spec, table = drawn
    with (spec.path / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == table.column_names
    assert [row["mask_boxes"] for row in rows] == table["mask_boxes"].to_pylist()
    assert [str(spec.path.resolve() / row["image"]) for row in rows] == table["image"].to_pylist()
    assert [row["true_species"] for row in rows] == table["true_species"].to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize("holder", ["institution", "region"])
def test_half_earth_metadata_joins_to_the_same_catalogue(tmp_path, holder):
    spec = small(tmp_path / "half-earth", layout="half_earth", holder=holder, errors=0.3)
    table = read(spec).to_pylist()
    data = json.loads((spec.path / "train/metadata.json").read_text())
    kinds = {kind: {entry["id"]: entry for entry in data[kind]} for kind in ("images", "categories", f"{holder}s")}
    assert len(data["annotations"]) == len(kinds["images"]) == 24
    for note, row in zip(data["annotations"], table, strict=True):
        image, category = kinds["images"][note["image_id"]], kinds["categories"][note["category_id"]]
        assert (category["name"], category["family"], category["order"]) == (
            row["species"],
            row["family"],
            row["order"],
        )
        assert kinds[f"{holder}s"][note[f"{holder}_id"]]["name"] == row["institution"]
        path = spec.path.resolve() / "train" / image["file_name"]
        assert str(path) == row["image"]
        with Image.open(path) as picture:
            assert picture.size == (image["width"], image["height"])
        folders = f"{note['category_id']:05d}"
        assert image["file_name"] == f"images/{folders[:3]}/{folders[3:]}/{image['id']}.jpg"


@pytest.mark.parametrize("institution", range(9))
def test_a_sheet_of_any_herbarium_is_paper_with_a_plant_on_it(institution):
    table = collected(sheets=400, institutions=9)
    number = int(np.flatnonzero(table.institution == institution)[0])
    pixels = draw_sheet(make_subject(table, number, 89), 128, 89)
    assert pixels.dtype == np.uint8
    luma = pixels.mean(axis=2)
    middle = luma[30:-60, 20:-20]
    assert np.quantile(middle, 0.8) > 150  # paper
    assert 0.02 < (middle < 120).mean() < 0.8  # and a dark plant


def test_duplicates_show_one_plant_in_different_pieces(tmp_path):
    table = collected(sheets=200, duplicates=0.4)
    first, second = next((i, i + 1) for i in range(199) if table.gathering[i] == table.gathering[i + 1])
    one, other = (draw_sheet(make_subject(table, number, 89), 64, 89) for number in (first, second))
    assert one.shape != other.shape or not np.array_equal(one, other)


@pytest.mark.slow
def test_genus_cannot_be_read_from_the_mean_colour_alone():
    table = collected(sheets=160, duplicates=0, institutions=1, orders=2, families=3, genera=5, species=15)
    means = np.array(
        [draw_sheet(make_subject(table, number, 89), 40, 89)[:, 5:-5].mean((0, 1)) for number in range(160)]
    )
    genera = [table.taxa[truth].genus for truth in table.truth]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    majority = max(map(genera.count, genera)) / len(genera)
    assert cross_val_score(model, means, genera, cv=3).mean() < majority + 0.15


def test_sheets_are_readable_by_the_decoder_of_the_pipeline(drawn):
    _, table = drawn
    pixels = simplejpeg.decode_jpeg(Path(table["image"][0].as_py()).read_bytes())
    assert pixels.shape[1] == 64
    assert Image.open(io.BytesIO(Path(table["image"][0].as_py()).read_bytes())).mode == "RGB"

import csv
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from herbray.data.names.parse import Name, parse_genus, parse_higher, parse_name

SHARED = Path(__file__).parents[3].parent / "shared/data"


@pytest.mark.parametrize(
    ("text", "genus", "species"),
    [
        ("cf. Quercus agrifolia", "Quercus", None),
        ("RUBUS CAESIUS", "Rubus", "Rubus caesius"),
        ("rubus caesius", "Rubus", "Rubus caesius"),
        ("Carex×xanthocarpa", "Carex", "Carex ×xanthocarpa"),
        ("+Laburnocytisus adamii", "Laburnocytisus", "Laburnocytisus adamii"),
        ("+ Laburnocytisus", "Laburnocytisus", None),
        ("Isoe\u0308tes lacustris", "Isoëtes", "Isoëtes lacustris"),
        ("Unknown", None, None),
        ("No name", None, None),
        ("Hybrid", None, None),
        ("Tribe Rubeae", None, None),
        ("Incertae sedis", None, None),
        ("indet.", None, None),
        ("sp. 3", None, None),
        ("?", None, None),
        ("n/a", None, None),
        ("Gen. nov. aff. Levieria", None, None),
        ("Quercus cf. agrifolia Née", "Quercus", None),
        ("Rubus aff. caesius L.", "Rubus", None),
        ("Rubus ?caesius", "Rubus", None),
        ("Rubus caesius or R. idaeus", "Rubus", None),
        ("Pectocarya recurvata / platycarpa", "Pectocarya", None),
        ("Rubus/Rosa", None, None),
        ("Rubus sp. 3", "Rubus", None),
        ("Rubus indet.", "Rubus", None),
        ("gomphrena_sp", "Gomphrena", None),
        ("zea_mays", "Zea", "Zea mays"),
        ("Acer_Opalus", "Acer", "Acer opalus"),
        ("×Sorbaronia fallax", "Sorbaronia", "Sorbaronia fallax"),
        ("x Sorbaronia fallax", "Sorbaronia", "Sorbaronia fallax"),
        ("xAbacopterella", "Abacopterella", None),
        ("Mentha x piperita nothovar. citrata", "Mentha", "Mentha ×piperita"),
        ("Salix alba × Salix fragilis", "Salix", None),
        ("Salix alba L. X S. fragilis L.", "Salix", None),
        ("Sorbus aria × Aronia melanocarpa", None, None),
        ("Rubus nothosect. Corylifolii", "Rubus", None),
        ("Rubus subg. Rubus caesius", "Rubus", "Rubus caesius"),
        ("Rubus (Rubus) caesius L.", "Rubus", "Rubus caesius"),
        ("Carex flava var. alpina Kneuck.", "Carex", "Carex flava"),
        ("Salvia van Houtte", "Salvia", None),
        ("Abelia R.Br.", "Abelia", None),
        ("Rosa 'Peace'", "Rosa", None),
        ("Uva-ursi buxifolia", "Uva-ursi", "Uva-ursi buxifolia"),
        ("Dubois-Reymondia", "Dubois-Reymondia", None),
        ("caesius", None, "caesius"),  # an epithet whose genus stands in its own column
        ("Rubus bush", "Rubus", "Rubus bush"),  # a wrong epithet looks like any other
    ],
)
def test_names_as_botanists_write_them(text, genus, species):
    assert parse_name(text)[:3] == (genus, species, None)
    assert parse_name(text).is_read
    assert parse_name(unicodedata.normalize("NFD", text)) == parse_name(unicodedata.normalize("NFC", f"  {text}\u00a0"))


@pytest.mark.parametrize("text", ["Rosaceae", "ROSACEAE", "rosaceae", "Rosaceae sp.", "Fam. Rosaceae", "rosaceae_sp"])
def test_a_family_is_told_from_a_genus(text):
    for read in (parse_name(text), parse_genus(text)):
        assert (read.family, read.genus, read.species) == ("Rosaceae", None, None)


def test_families_without_the_usual_ending():
    assert parse_genus("Leguminosae").family == "Leguminosae"
    assert parse_genus("Palmae indet.").family == "Palmae"
    assert parse_genus("Palma").genus == "Palma"


@pytest.mark.parametrize("text", ["R. caesius", "BOLD:AAF9225", "type 12", "IMG2291 b"])
def test_what_is_no_name_is_not_read(text):
    assert parse_name(text) == Name(is_read=False)
    assert parse_genus(text) == Name(is_read=False)


@pytest.mark.parametrize(
    ("text", "genus"),
    [
        ("serjania", "Serjania"),
        ("SERJANIA", "Serjania"),
        ("Serjania", "Serjania"),
        ("Serjania L.", "Serjania"),
        ("× Sorbaronia", "Sorbaronia"),
        ("Rubus?", "Rubus"),
        ("caesius", "Caesius"),
        ("Unknown", None),
        ("-", None),
    ],
)
def test_any_single_word_of_a_column_of_genera_is_one(text, genus):
    assert parse_genus(text).genus == genus


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ROSACEAE", "Rosaceae"),
        ("rosales", "Rosales"),
        ("Incertae sedis", None),
        ("", None),
        ("order 66", None),
        ("Bacillariophyta familia incertae sedis", "Bacillariophyta familia incertae sedis"),
    ],
)
def test_families_and_orders(text, name):
    assert parse_higher(text) == name


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(st.text(max_size=24))
def test_any_text_is_read_without_an_error_and_reading_is_stable(text):
    read = parse_name(text)
    for name in (read.genus, read.family):
        assert name is None or (name == name.strip() and name[0].isupper())
    if read.species and read.genus:
        assert read.species.startswith(f"{read.genus} ")
        assert parse_name(read.species)[:2] == read[:2]


def test_genera_of_a_real_list_are_read_as_they_are():
    path = SHARED / "taxonomy/plant_lookup.csv"
    if not path.is_file():
        pytest.skip("the shared data are not here")
    with path.open(encoding="utf-8") as file:
        genera = [row["genus"] for row in csv.DictReader(file)]
    changed = [name for name in genera[::7] if parse_name(name).genus != name]
    assert len(genera) > 20_000
    assert changed == []


def test_names_with_authors_give_the_genus_and_epithet_that_a_data_set_states():
    path = SHARED / "fgvc_metadata/h22_miniv1_val.tsv"
    if not path.is_file():
        pytest.skip("the shared data are not here")
    with path.open(encoding="utf-8") as file:
        rows = {(row["scientificName"], row["genus"], row["species"]) for row in csv.DictReader(file, delimiter="\t")}
    assert len(rows) > 1_800
    for name, genus, epithet in sorted(rows)[::3]:
        assert parse_name(name)[:2] == (genus, f"{genus} {epithet}")


def test_names_of_real_specimens_are_read_as_gbif_reads_them():
    nameparser = pytest.importorskip("nameparser", reason="gbif-name-parser is not installed")
    path = SHARED / "multi_institution_sheets/benchmark500_metadata.csv"
    if not path.is_file():
        pytest.skip("the shared data are not here")
    with path.open(encoding="utf-8") as file:
        names = sorted({row["scientificName"] for row in csv.DictReader(file) if row["scientificName"].strip()})
    for name in names[::2]:
        theirs = nameparser.parse(name).to_dict()
        genus, epithet = theirs.get("genus") or theirs.get("uninomial"), theirs.get("specificEpithet")
        ours = parse_name(name)
        assert (ours.genus or ours.family) == genus, name
        assert ours.species == (f"{genus} {'×' if theirs.get('notho') else ''}{epithet}" if epithet else None), name

import pytest
import yaml
from typer.testing import CliRunner

from herbray import cli
from herbray.config import parse
from herbray.data import catalogue
from herbray.data.catalogue_job import Catalogue, run

LINES = [
    "File Name;Scientific name;Herbarium;Shelf",
    "a.JPG;RUBUS CAESIUS;K;1",
    "b;Rosaceae sp.;NY;2",
    "c.jpg;cf. Zea mays;NY;3",
    "../d.jpg;Zea mays;NY;4",
    "e.jpg;Zea mays",
    ";;;",
]


@pytest.fixture
def sheets(tmp_path):
    folder = tmp_path / "sheets"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).touch()
    (folder / "labels.csv").write_text("\n".join(LINES), encoding="utf-16")
    return folder


def test_a_look_tells_what_would_be_read_and_proposes_settings_that_work(sheets, tmp_path):
    spec = parse(
        Catalogue, {"source": {"name": "folder", "path": str(sheets)}, "out": str(tmp_path / "out"), "look": True}
    )
    told = run(spec)
    assert not (tmp_path / "out").exists()
    for line in (
        f"{sheets}/labels.csv: text, semicolon, utf-16",
        "  image ← File Name (proposed)",
        "  species ← Scientific name (proposed)",
        "  institution ← Herbarium (proposed)",
        "  not used: Shelf",
        "the first 3 of 3 usable rows:",
        "  image | family | genus | species | institution | verbatim_name",
        "  a.jpg |  | Rubus | Rubus caesius | K | RUBUS CAESIUS",
        "names: order 0 (3 empty), family 1 (2 empty), genus 2 (1 empty), species 1 (2 empty)",
        "institutions: 2 (0 rows without)",
        "images: 2 found, 1 not found",
        f"  not found: {sheets}/c.jpg",
        "skipped: blank 1",
        "refused: 2 rows",
        "  fields 1: labels.csv, line 6: 2 fields where the header has 4",
        "note: 1 row of a doubtful species ('cf. Zea mays'): the species is left empty",
    ):
        assert line in told.splitlines(), told
    proposed = yaml.safe_load(told.partition("a configuration to start from:\n")[2])
    manifest = catalogue.build(parse(Catalogue, proposed | {"max_quarantined": 1}))
    assert manifest["counts"] == {"input": 6, "ok": 3, "quarantined": 2, "skipped": 1}
    assert manifest["skipped"] == {"blank": 1}
    assert manifest["reasons"] == {"fields": 1, "outside": 1}


def test_the_option_prints_a_look_without_control_characters(sheets, tmp_path):
    (sheets / "labels.csv").write_text("image,genus\na.jpg,Ru\x1bbus\n")
    words = ["catalogue", "source.name=folder", f"source.path={sheets}", f"out={tmp_path / 'out'}", "--look"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0
    assert "images: 1 found, 0 not found" in result.stdout
    assert "\x1b" not in result.stdout
    assert not (tmp_path / "out").exists()


def test_a_look_at_another_source_needs_no_table(tmp_path):
    (tmp_path / "metadata.json").write_text('{"images": [{"id": 1, "file_name": "a.jpg"}]}')
    told = run(parse(Catalogue, {"source": {"name": "half_earth", "path": str(tmp_path)}, "look": True}))
    assert told.startswith("the first 1 of 1 usable rows:")
    assert "images: 0 found, 1 not found" in told


def test_a_catalogue_tells_its_notes_and_keeps_names_as_they_were_written(sheets, tmp_path, capsys):
    source = f"source={{name: folder, path: {sheets}, columns: {{image: file name, species: scientific name}}}}"
    assert cli.run("catalogue", None, [source, f"out={tmp_path / 'out'}", "max_quarantined=1"]) == 0
    printed = capsys.readouterr().out
    assert "note: 1 row with a family in the column species ('Rosaceae sp.'): read as the family" in printed
    assert "note: 1 of 3 images are not there" in printed
    assert printed.splitlines()[-1] == "6 input, 3 ok, 2 quarantined, 1 skipped"
    table = catalogue.read(tmp_path / "out", verbatim=True)
    assert table["verbatim_name"].to_pylist() == ["RUBUS CAESIUS", "Rosaceae sp.", "cf. Zea mays"]
    assert "verbatim_name" not in catalogue.read(tmp_path / "out").column_names


def test_collector_and_number_are_proposed_together(sheets):
    (sheets / "labels.csv").write_text("image,genus,Collector,Coll No,Sheet\na.jpg,Zea,R. Spruce,12,x\n")
    spec = parse(Catalogue, {"source": {"name": "folder", "path": str(sheets)}, "look": True})
    told = run(spec).splitlines()
    assert "  recorded_by ← Collector (proposed)" in told
    assert "  record_number ← Coll No (proposed)" in told
    assert not any("gathering ←" in line for line in told)
    assert "gatherings: 1 (0 rows without)" in told
    (sheets / "labels.csv").write_text("image,genus,Collector,Sheet\na.jpg,Zea,R. Spruce,x\n")
    assert "  gathering ← Sheet (proposed)" in run(spec).splitlines()

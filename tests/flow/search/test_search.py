import html
import re
import shutil

import pyarrow.parquet as pq
import pytest

import herbray
from herbray import schema
from herbray.config import load
from herbray.flow.embedding.encoder_source import start_card
from herbray.flow.search.job import Search, search
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.encoder_card import save_encoder


@pytest.fixture(scope="module")
def index(photographed):
    return herbray.load_index(photographed / "embeddings", photographed / "shards")


def settings(photographed, tmp_path, **more):
    places = {"embeddings": photographed / "embeddings", "shards": photographed / "shards", "out": tmp_path / "out"}
    return Search.model_validate(places | more)


def test_an_original_finds_its_own_sheet_at_distance_zero(index, photographed):
    files = sorted((photographed / "originals").iterdir())[:6]
    found = index.search(files, k=3)
    assert found.schema == schema.SIMILAR
    assert found["query"].to_pylist() == [str(file) for file in files for _ in range(3)]
    first = [row for row in found.to_pylist() if row["place"] == 1]
    assert [row["specimen_id"] for row in first] == [f"@{file.stem}" for file in files]
    assert max(row["distance"] for row in first) < 1e-5  # another batch, the same pixels
    assert index.search(files[0], k=3).to_pylist() == found.slice(0, 3).to_pylist()


def test_a_specimen_does_not_find_itself_and_agrees_with_its_image(index, photographed):
    own = index.search(specimens=["@012"], k=5)["specimen_id"].to_pylist()
    by_image = index.search(photographed / "originals" / "012.jpg", k=6)["specimen_id"].to_pylist()
    assert by_image == ["@012", *own]
    few = index.search(specimens=["@012"], k=50)
    assert (len(few), "@012" in few["specimen_id"].to_pylist()) == (39, False)


def test_conditions_hold_and_what_matches_nothing_is_explained(index):
    found = index.search(specimens=["@000"], k=50, where={"family": "Fagaceae", "institution": ["NY", "K"]})
    assert {(row["family"], row["institution"]) for row in found.to_pylist()} == {
        ("Fagaceae", "NY"),
        ("Fagaceae", "K"),
    }
    with pytest.raises(ValueError, match=r"where\.family: no sheet has Rosacee; did you mean 'Rosaceae'"):
        index.search(specimens=["@000"], where={"family": "Rosacee"})
    with pytest.raises(ValueError, match=r"where\.institution: no sheet has Q; choose from NY, K$"):
        index.search(specimens=["@000"], where={"institution": "Q"})
    with pytest.raises(ValueError, match=r"where\.genus: no sheet that meets the conditions before it has Alba"):
        index.search(specimens=["@000"], where={"family": "Fagaceae", "genus": "Alba"})
    with pytest.raises(ValueError, match=r"where\.species: .*no sheet has a value in the column species"):
        index.search(specimens=["@000"], where={"species": "Alba x"})
    with pytest.raises(ValueError, match="familie: unknown key; did you mean 'family'"):
        index.search(specimens=["@000"], where={"familie": "x"})


def test_bad_queries_get_one_clear_line(index, photographed, tmp_path):
    with pytest.raises(ValueError, match=r"specimen '@01' is not in .*; did you mean '@010', '@011', '@012'\?"):
        index.search(specimens=["@01"])
    with pytest.raises(ValueError, match=r"specimen 'x{80}' is not in .*; ids look like '@000'"):
        index.search(specimens=["x" * 10_000])
    (tmp_path / "no.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"no\.jpg: the file is not in a supported format"):
        index.search(tmp_path / "no.jpg")
    with pytest.raises(ValueError, match="no such file or folder; a specimen of the embeddings is named in"):
        index.search(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="nothing to look up"):
        search(settings(photographed, tmp_path))


def test_another_encoder_and_other_shards_are_refused(photographed, tmp_path):
    spec = EncoderSpec(arch="mobilenet_v3_small", init="random", size=32)
    save_encoder(tmp_path / "other", other := build_encoder(spec, 7), start_card(spec, 7, other))
    image = photographed / "originals" / "000.jpg"
    with pytest.raises(ValueError, match=r"other: this encoder \(\w+\) did not make .*: set model to that one"):
        search(settings(photographed, tmp_path, images=image, model=str(tmp_path / "other")))
    shutil.copytree(photographed / "shards", tmp_path / "shards")
    manifest = tmp_path / "shards" / "manifest.json"
    manifest.unlink()
    with pytest.raises(ValueError, match="no finished shards here"):
        search(settings(photographed, tmp_path, images=image, shards=tmp_path / "shards"))


def test_the_job_accounts_for_every_file_and_the_page_is_safe(photographed, tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    originals = photographed / "originals"
    for number, name in enumerate(("a.jpg", "<img src=x onerror=alert(1)>.jpg", "\u202eعربى.jpg", "=1+1.jpg")):
        shutil.copy(originals / f"{number:03d}.jpg", folder / name)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("x")
    done = search(settings(photographed, tmp_path, images=folder, specimens=["@005", "@005"], k=4, title="<b>"))
    assert "7 input, 5 ok, 1 quarantined, 1 skipped; 20 similar sheets among 40" in done
    assert "1 images cannot be read, such as" in done
    out = tmp_path / "out"
    assert pq.read_table(out / "similar.parquet").schema == schema.SIMILAR
    refused = pq.read_table(out / "quarantine.parquet").to_pylist()
    assert [(row["stage"], row["reason"]) for row in refused] == [("search", "not-an-image")]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 5 + 20
    assert not re.search(r"<(script|img src=x|b>)|javascript:|https?://(?!example\.org)", page)
    assert "&lt;img src=x onerror=alert(1)&gt;.jpg" in page
    assert "n" * 200 not in html.unescape(page)
    assert (out / "similar.csv").read_text(encoding="utf-8-sig").count("'=Cmd|") > 0


def test_the_command_line_takes_one_file_or_a_list(photographed):
    assert load(Search, None, ["images=a.jpg"]).images == load(Search, None, ["images=[a.jpg]"]).images
    assert load(Search, None, ["where.institution=K", "where.genus=[A,B]"]).where.genus == ("A", "B")
    one = load(Search, None, ["specimens=NY-1"])
    assert (one.specimens, one.images) == (("NY-1",), ())

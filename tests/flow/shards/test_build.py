import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from herbray import config, schema
from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.imaging import images
from herbray.data.labels import Labels
from herbray.data.sources.darwin_core import DarwinCore
from herbray.data.sources.synthetic import Synthetic
from herbray.data.splitting.splits import EmptySplit, Splits
from herbray.flow.shards.build import QuarantineLimit, Shard, shard
from herbray.flow.shards.manifest import read_index, read_lineages, read_manifest
from herbray.flow.training.runs.identity import run_name
from herbray.flow.training.specification import Train
from herbray.flow.training.training_data import read_training_data
from herbray.verdicts.saving import append_verdicts

pytestmark = pytest.mark.usefixtures("cluster")


def rows_of(shards):
    return [row for file in sorted(shards.glob("split=*/*.parquet")) for row in pq.ParquetFile(file).read().to_pylist()]


def spec_of(catalogue_folder, out, **values):
    settings = {"splits": Splits(species=0.1, random=0.2, validation=0.25), "side": 40, "bag": 8, "file_rows": 64}
    return Shard(catalogue=catalogue_folder, out=out, **(settings | values))


def test_counts_add_up_and_every_specimen_occurs_once(shards, herbarium):
    manifest = read_manifest(shards)
    counts = manifest["counts"]
    assert (
        counts["input"]
        == counts["ok"] + counts["quarantined"] + counts["skipped"]
        == catalogue.read(herbarium).num_rows
    )
    ids = [row["specimen_id"] for row in rows_of(shards)]
    assert len(ids) == len(set(ids)) == counts["ok"] == sum(manifest["splits"].values())
    assert counts["quarantined"] == 0


def test_the_index_is_right_about_every_row_group(shards):
    index = read_index(shards)
    assert index.schema == schema.INDEX
    for bag in index.to_pylist():
        group = pq.ParquetFile(shards / bag["file"]).read_row_group(bag["row_group"])
        assert set(group["genus"].to_pylist()) == {bag["label"]}
        assert group.num_rows == bag["rows"] <= 8


def test_every_image_has_the_wanted_short_side(shards):
    for row in rows_of(shards)[:60]:
        assert min(row["width"], row["height"]) == 40
        assert images.decode_squares([row["jpeg"]], 40).shape == (1, 40, 40, 3)


def test_padded_shards_hold_squares_and_another_geometry_is_another_file(tmp_path, shards, herbarium):
    out = tmp_path / "shards"
    shutil.copytree(shards, out)
    padded = shard(spec_of(herbarium, out, geometry="pad"))
    assert (padded["geometry"], read_manifest(shards)["geometry"]) == ("pad", "crop")
    assert padded["fingerprint"] != read_manifest(shards)["fingerprint"]
    assert {(row["width"], row["height"]) for row in rows_of(out)} == {(40, 40)}
    assert padded["counts"] == read_manifest(shards)["counts"]


def test_at_rank_all_every_label_has_a_lineage(tmp_path, herbarium):
    out = tmp_path / "shards"
    shard(spec_of(herbarium, out, splits=Splits(home=None, random=0.3, validation=0), labels=Labels(rank="all")))
    lineages = {row["label"]: row for row in read_lineages(out).to_pylist()}
    for bag in read_index(out).to_pylist():
        group = pq.ParquetFile(out / bag["file"]).read_row_group(bag["row_group"]).to_pylist()
        for row in group:
            assert lineages[bag["label"]] == {"label": bag["label"], **{rank: row[rank] for rank in schema.RANKS}}


def test_images_are_stored_uncompressed_and_labels_are_not(shards):
    file = next(iter(sorted(shards.glob("split=train/*.parquet"))))
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = {group.column(i).path_in_schema: group.column(i).compression for i in range(group.num_columns)}
    assert columns["jpeg"] == "UNCOMPRESSED"
    assert columns["genus"] == "ZSTD"


def test_a_second_run_rewrites_nothing_and_a_lost_file_is_made_again(tmp_path, shards, herbarium):
    out = tmp_path / "shards"
    shutil.copytree(shards, out)
    files = sorted(out.glob("split=*/*.parquet"))
    before = {file: file.stat().st_mtime_ns for file in files}
    lost = files[1].read_bytes()
    files[1].unlink()
    files[2].write_bytes(b"torn")
    shard(spec_of(herbarium, out))
    after = {file: file.stat().st_mtime_ns for file in files}
    assert {file for file in files if before[file] != after[file]} == {files[1], files[2]}
    assert files[1].read_bytes() == lost
    assert read_manifest(out) == read_manifest(shards)


def test_another_plan_removes_all_files_of_the_old_one(tmp_path, shards, herbarium):
    out = tmp_path / "shards"
    shutil.copytree(shards, out)
    (out / "split=train" / ".part-00000.parquet.99.tmp").write_bytes(b"half")
    manifest = shard(spec_of(herbarium, out, splits=Splits(species=0, random=0.3, validation=0.25), file_rows=500))
    assert sum(manifest["splits"].values()) == len(rows_of(out))
    assert not list(out.glob("split=species/*"))
    assert not list(out.glob("*/.*"))


def broken_catalogue(folder, herbarium):
    """The small herbarium, copied so that tests can damage its images."""
    table = catalogue.read(herbarium)
    sheets = folder / "sheets"
    sheets.mkdir(parents=True)
    names = []
    for place, path in enumerate(table["image"].to_pylist()):
        name = f"{place:05d}.jpg"
        shutil.copy(path, sheets / name)
        names.append(name)
    return table, sheets, names


def catalogue_of(folder, table, sheets, names, families=()):
    """The copied herbarium as a catalogue; `families` replaces the families of some rows."""
    columns = table.drop_columns(["image"]).to_pylist()
    with (sheets / "labels.csv").open("w", encoding="utf-8") as file:
        file.write("specimen_id,image,order,family,genus,species,institution\n")
        for place, (row, name) in enumerate(zip(columns, names, strict=True)):
            row |= {"family": dict(families).get(place, row["family"])}
            file.write(
                ",".join([row["specimen_id"], name, *(row[r] or "" for r in schema.RANKS), row["institution"]]) + "\n"
            )
    source = {"name": "folder", "path": str(sheets)}
    catalogue.build(config.parse(Catalogue, {"source": source, "out": folder}))
    return folder


ALL = Splits(cap=None, home=None, species=0, random=0.2, validation=0.25, min_train=1)


def test_only_files_with_repaired_images_or_changed_names_are_rewritten(tmp_path, herbarium):
    table, sheets, names = broken_catalogue(tmp_path, herbarium)
    whole = (sheets / names[3]).read_bytes()
    (sheets / names[3]).write_bytes(b"")
    (sheets / names[99]).write_bytes(b"no image")
    folder, out = catalogue_of(tmp_path / "catalogue", table, sheets, names), tmp_path / "shards"
    spec = spec_of(folder, out, splits=ALL, file_rows=16)

    def made():
        times = {file: file.stat().st_mtime_ns for file in sorted(out.glob("split=*/*.parquet"))}
        manifest = shard(spec)
        return manifest, {file for file, time in times.items() if file.stat().st_mtime_ns != time}

    first, _ = made()
    assert first["counts"]["quarantined"] == 2
    assert made() == (first, set())
    (sheets / names[3]).write_bytes(whole)
    mended, files = made()
    assert (mended["counts"]["quarantined"], len(files)) == (1, 1)
    assert mended["fingerprint"] != first["fingerprint"]

    place = next(p for p, row in enumerate(table.to_pylist()) if row["specimen_id"] == rows_of(out)[0]["specimen_id"])
    catalogue_of(tmp_path / "catalogue", table, sheets, names, {place: "Novaceae"})
    renamed, files = made()
    assert len(files) == 1
    assert renamed["fingerprint"] != mended["fingerprint"]
    assert [row["family"] for row in rows_of(out)].count("Novaceae") == 1


def moved(before, after):
    after.parent.mkdir(parents=True)
    return before.rename(after)


def drawn(sheets, out):
    """A catalogue of a few synthetic sheets."""
    source = Synthetic(path=sheets, sheets=60, size=32, orders=2, families=2, genera=3, species=6)
    catalogue.build(Catalogue(source=source, out=out))
    return out


def test_an_archive_that_is_mounted_elsewhere_changes_nothing(tmp_path, monkeypatch):
    first, out = tmp_path / "first" / "sheets", tmp_path / "shards"
    names = drawn(first, tmp_path / "catalogue")
    bad = Path(catalogue.read(names)["image"][7].as_py()).relative_to(first)
    whole = (first / bad).read_bytes()
    (first / bad).write_bytes(whole[:300])
    spec = spec_of(names, out, splits=ALL, file_rows=16)
    before = shard(spec), run_name(Train(shards=out))
    files = {file: file.stat().st_mtime_ns for file in out.glob("split=*/*.parquet")}
    assert before[0]["counts"]["quarantined"] == 1
    assert len(files) > 2

    second = moved(first, tmp_path / "other" / "mount" / "archive")
    (tmp_path / "link").symlink_to(second)
    monkeypatch.chdir(tmp_path)
    for spelled in (second, Path("other/mount/archive"), Path("other/../link"), tmp_path / "link"):
        drawn(spelled, names)
        assert (shard(spec)["fingerprint"], run_name(Train(shards=out))) == (before[0]["fingerprint"], before[1])
        assert {file: file.stat().st_mtime_ns for file in out.glob("split=*/*.parquet")} == files
    refused = pq.read_table(out / "quarantine.parquet").to_pylist()
    assert [row["image"] for row in refused] == [str(second / bad)]  # the present path, for people who look at it

    (second / bad).write_bytes(whole)  # the image is checked again at the present path
    mended = shard(spec)
    assert mended["counts"]["quarantined"] == 0
    assert sum(file.stat().st_mtime_ns != time for file, time in files.items()) == 1


def test_an_image_that_was_missing_at_the_old_place_is_looked_for_at_the_new_one(tmp_path):
    first, names, out = tmp_path / "first" / "sheets", tmp_path / "catalogue", tmp_path / "shards"
    lost = Path(catalogue.read(drawn(first, names))["image"][7].as_py())
    whole = lost.read_bytes()
    lost.unlink()
    spec = spec_of(names, out, splits=ALL, file_rows=16)
    assert shard(spec)["reasons"] == {"missing": 1}
    second = moved(first, tmp_path / "second" / "sheets")
    (second / lost.relative_to(first)).write_bytes(whole)
    drawn(second, names)
    assert shard(spec)["reasons"] == {}


def test_files_on_another_nodes_own_disk_are_reported(tmp_path, herbarium, monkeypatch):
    out = tmp_path / "shards"

    def make(spec, table, files, root):
        yield from ({"file": file.path, "rows": len(file.rows), "bags": [], "refused": []} for file in files)

    monkeypatch.setattr("herbray.flow.shards.build._run_tasks", make)
    with pytest.raises(ValueError, match="do not share this folder"):
        shard(spec_of(herbarium, out))
    assert not (out / "manifest.json").exists()


def test_bad_images_are_quarantined_with_their_reason(tmp_path, herbarium):
    table, sheets, names = broken_catalogue(tmp_path, herbarium)
    bad = {names[3]: b"", names[50]: b"no image", names[99]: (sheets / names[99]).read_bytes()[:900]}
    for name, data in bad.items():
        (sheets / name).write_bytes(data)
    (sheets / names[120]).unlink()
    folder, splits = catalogue_of(tmp_path / "catalogue", table, sheets, names), ALL
    manifest = shard(spec_of(folder, tmp_path / "shards", splits=splits))
    refused = pq.read_table(tmp_path / "shards" / "quarantine.parquet").to_pylist()
    assert {row["image"].rsplit("/", 1)[1]: row["reason"] for row in refused} == {
        names[3]: "empty",
        names[50]: "not-an-image",
        names[99]: "truncated",
        names[120]: "missing",
    }
    assert manifest["counts"]["quarantined"] == 4
    assert manifest["counts"]["ok"] + 4 + manifest["counts"]["skipped"] == table.num_rows
    with pytest.raises(QuarantineLimit, match="max_quarantined"):
        shard(spec_of(folder, tmp_path / "shards", splits=splits, max_quarantined=0.001))


def test_a_split_that_ends_up_empty_is_an_error(tmp_path, herbarium):
    with pytest.raises(EmptySplit, match="random"):
        shard(spec_of(herbarium, tmp_path / "shards", splits=Splits(random=1e-9, species=0)))
    with pytest.raises(ValueError, match="NOWHERE"):
        shard(spec_of(herbarium, tmp_path / "shards", splits=Splits(home="NOWHERE")))


def test_missing_shards_say_which_command_to_run(tmp_path):
    with pytest.raises(ValueError, match="run `herbray shard`"):
        read_manifest(tmp_path)


def test_killed_in_the_middle_and_run_again(tmp_path, herbarium):
    """SIGKILL of the whole job; the second run keeps finished files, and every image occurs once."""
    out = tmp_path / "shards"
    arguments = [f"catalogue={herbarium}", f"out={out}", "side=40", "bag=8", "file_rows=8", "splits.random=0.2"]
    command = [sys.executable, "-m", "herbray.cli", "shard", *arguments]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    job = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        _until(lambda: len(list(out.glob("split=*/part-*.parquet"))) >= 2, job)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    kept = {file: file.stat().st_mtime_ns for file in out.glob("split=*/part-*.parquet")}
    assert not (out / "manifest.json").exists()
    manifest = shard(config.load(Shard, None, arguments))
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    ids = [row["specimen_id"] for row in rows_of(out)]
    assert len(ids) == len(set(ids)) == manifest["counts"]["ok"]
    assert json.loads((out / "manifest.json").read_text())["counts"] == manifest["counts"]


def _until(true, job, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert job.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < end, "the job made no file in time"
        time.sleep(0.02)


def test_training_never_sees_a_sheet_whose_name_was_judged_wrong(herbarium, tmp_path):
    before = shard(spec_of(herbarium, tmp_path / "before"))
    seen = [row for row in rows_of(tmp_path / "before") if row["true_species"] != row["species"]]
    columns = dict.fromkeys(schema.VERDICT.names, "") | {"rank": "genus", "verdict": "wrong"}
    rows = [
        columns | {"id": row["specimen_id"], "specimen_id": row["specimen_id"], "given": row["genus"]} for row in seen
    ]
    append_verdicts(tmp_path / "verdicts.csv", rows)
    after = shard(spec_of(herbarium, tmp_path / "after", labels=Labels(verdicts=tmp_path / "verdicts.csv")))
    taught = {
        name: sum(
            pq.read_table(file).num_rows
            for split in ("train", "validation")
            for file in folder.glob(f"split={split}/*")
        )
        for name, folder in (("before", tmp_path / "before"), ("after", tmp_path / "after"))
    }
    wrong = {row["specimen_id"] for row in seen}
    kept = [
        row
        for path in ("train", "validation")
        for file in (tmp_path / "after").glob(f"split={path}/*")
        for row in pq.read_table(file).to_pylist()
    ]
    assert wrong
    assert not wrong & {row["specimen_id"] for row in kept}
    assert 0 < taught["before"] - taught["after"] <= len(wrong)
    assert after["splits"]["random"] == before["splits"]["random"]
    settings = {"encoder": {"arch": "mobilenet_v3_small", "size": 32}}
    data = read_training_data(config.parse(Train, settings | {"shards": tmp_path / "after"}))
    rows = sum(bag["rows"] for bag in data.index.to_pylist() if bag["split"] == "train")
    assert rows == after["splits"]["train"] < before["splits"]["train"]


def test_a_catalogue_of_addresses_is_refused_before_any_work(tmp_path):
    text = (
        "occurrenceID,genus,basisOfRecord,associatedMedia\nurn:x:1,Rubus,PreservedSpecimen,https://example.org/1.jpg\n"
    )
    (tmp_path / "table.csv").write_text(text)
    spec = Catalogue(source=DarwinCore(path=tmp_path / "table.csv"), out=tmp_path / "catalogue")
    catalogue.build(spec)
    with pytest.raises(ValueError, match=r"1 of 1 images are addresses on the web.*source\.images"):
        shard(Shard(catalogue=spec.out, out=tmp_path / "shards"))
    assert not (tmp_path / "shards").exists()


def test_a_download_with_pictures_in_a_folder_becomes_shards(tmp_path):
    download = Path(__file__).parents[3].parent / "shared/data/dwca/gbif_download_finch/0000154-150116162929234.zip"
    if not download.is_file():
        pytest.skip("the shared data are not here")
    with zipfile.ZipFile(download) as file:
        rows = file.read("occurrence.txt").decode().splitlines()[1:61]
    (tmp_path / "pictures").mkdir()
    for row in rows:
        Image.new("RGB", (40, 60), "beige").save(tmp_path / "pictures" / f"{row.partition(chr(9))[0]}.jpg")
    source = DarwinCore(path=download, images=tmp_path / "pictures")
    manifest = catalogue.build(Catalogue(source=source, out=tmp_path / "catalogue"))
    assert manifest["counts"] == {"input": 443, "ok": 60, "quarantined": 0, "skipped": 383}
    made = shard(Shard(catalogue=tmp_path / "catalogue", out=tmp_path / "shards", side=40))
    assert made["counts"]["quarantined"] == 0
    assert made["counts"]["ok"] == len(rows_of(tmp_path / "shards")) > 20
    assert made["citation"] == "GBIF Occurrence Download 0000154-150116162929234"

"""One shard file, written in this process."""

import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg

from herbray import schema
from herbray.flow.shards.write_file import write_shard_file

TEXTS = ["0.5 0.75 1 1", "none", None]


@pytest.fixture
def rows(tmp_path):
    """Three sheets of light paper with a dark label, each with other boxes."""
    pixels = np.full((96, 64, 3), 220, np.uint8)
    pixels[72:, 32:] = 10
    (tmp_path / "sheets").mkdir()
    for number in range(3):
        data = simplejpeg.encode_jpeg(pixels, quality=98, colorsubsampling="444")
        (tmp_path / f"sheets/{number}.jpg").write_bytes(data)
    values = {name: [None] * 3 for name in schema.MASKED_CATALOGUE.names}
    values |= {"specimen_id": list("abc"), "image": [f"{tmp_path}/sheets/{number}.jpg" for number in range(3)]}
    return pa.table(values | {"genus": ["G"] * 3, schema.MASK_BOXES: TEXTS}, schema=schema.MASKED_CATALOGUE)


def write(folder, rows):
    note = write_shard_file(str(folder), "split=train/part-00000.parquet", rows, [("G", 3)], (32, 90), str(folder))
    jpegs = pq.read_table(folder / note["file"])["jpeg"].to_pylist()
    return note, [simplejpeg.decode_jpeg(jpeg)[..., 0].astype(int) for jpeg in jpegs]


def test_boxes_are_painted_over_and_a_row_without_any_is_refused(tmp_path, rows):
    note, (masked, bare) = write(tmp_path, rows)
    assert abs(masked - 220).max() < 8
    assert bare[40:, 20:].max() < 40
    assert [(row["specimen_id"], row["reason"]) for row in note["refused"]] == [("c", "no-boxes")]
    assert set(note["refused"][0]) == set(schema.QUARANTINE.names)


def test_without_the_column_nothing_is_painted_and_the_file_is_another(tmp_path, rows):
    masked, _ = write(tmp_path, rows)
    plain, pictures = write(tmp_path, rows.select(schema.CATALOGUE.names))
    assert plain["fingerprint"] != masked["fingerprint"]
    assert len(pictures) == 3
    assert all(picture[40:, 20:].max() < 40 for picture in pictures)
    moved = rows.set_column(len(rows.column_names) - 1, schema.MASK_BOXES, pa.array(["0 0 .5 .5", "none", None]))
    assert write(tmp_path, moved)[0]["fingerprint"] not in (plain["fingerprint"], masked["fingerprint"])


def test_members_of_a_zip_file_are_read_and_addresses_refused(tmp_path, rows):
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(tmp_path / "sheets/0.jpg", "images/0.jpg")
        file.writestr("images/1.jpg", b"")
    images = [f"{archive}!/images/0.jpg", f"{archive}!/images/1.jpg", "https://example.org/2.jpg"]
    plain = rows.set_column(rows.column_names.index("image"), "image", pa.array(images)).drop_columns(["mask_boxes"])
    note, jpegs = write(tmp_path, plain)
    assert [(row["specimen_id"], row["reason"]) for row in note["refused"]] == [("b", "empty"), ("c", "address")]
    assert len(jpegs) == 1

import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from herbray import tables
from herbray.storage import DamagedFile, MissingFile

TABLE = pa.table(
    {
        "specimen_id": [f"NY{number}" for number in range(60)],
        "genus": ["Rubus", "Rosa", None] * 20,
        "width": pa.array(range(60), pa.int32()),
        "jpeg": [bytes([number]) * 200 for number in range(60)],
        "embedding": pa.FixedSizeListArray.from_arrays(np.arange(240, dtype=np.float32), 4),
    }
)
AS_SHARD = {"compression": "none", "use_dictionary": False, "write_statistics": False}


def write(path, note=None, **options):
    with tables.open_writer(path, TABLE.schema, **options) as file:
        file.write_table(TABLE, row_group_size=20)
        tables.add_note(file, note or {})
    return path.read_bytes()


def read_or_damage(path):
    try:
        return tables.read(path, "way out")
    except DamagedFile as error:
        return error


def flipped(data, place, bit):
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def test_rows_columns_groups_and_note_come_back(tmp_path):
    path = tmp_path / "folder" / "table.parquet"
    write(path, {"fingerprint": "5a5a"})
    assert tables.read(path, "").equals(TABLE)
    assert tables.read(path, "", TABLE.schema, ["genus"]).equals(TABLE.select(["genus"]))
    file = tables.TableFile(path, "", memory_map=True)
    assert (file.rows, file.groups, file.note) == (60, 3, {"fingerprint": "5a5a"})
    assert file.read_group(1, ["width"])["width"].to_pylist() == [*range(20, 40)]
    tables.verify(path, "")


def test_an_empty_table_and_one_without_a_note(tmp_path):
    tables.write(tmp_path / "t.parquet", TABLE.schema.empty_table())
    assert tables.read(tmp_path / "t.parquet", "", TABLE.schema).num_rows == 0
    assert tables.TableFile(tmp_path / "t.parquet", "").note == {}


def test_other_programs_read_our_tables(tmp_path):
    path = tmp_path / "t.parquet"
    tables.write(path, TABLE)
    assert pq.read_table(path).equals(TABLE)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, AS_SHARD])
def test_no_flipped_bit_gives_other_rows(tmp_path, options):
    path = tmp_path / "t.parquet"
    data = write(path, **options)
    rng, noticed = random.Random(0), 0
    for _ in range(1500):
        path.write_bytes(flipped(data, rng.randrange(len(data)), rng.randrange(8)))
        found = read_or_damage(path)
        if isinstance(found, DamagedFile):
            noticed += 1
            assert str(found).startswith(f"{path}: damaged")
            assert str(found).endswith("; way out")
        else:
            assert found.equals(TABLE)  # only statistics in a page's header changed
    assert noticed > 1000


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, AS_SHARD])
def test_verification_notices_every_flipped_bit(tmp_path, options):
    path = tmp_path / "t.parquet"
    data = write(path, **options)
    rng = random.Random(1)
    for _ in range(1500):
        path.write_bytes(flipped(data, rng.randrange(len(data)), rng.randrange(8)))
        with pytest.raises(DamagedFile):
            tables.verify(path, "way out")


@pytest.mark.parametrize("check", [tables.read, tables.verify])
def test_cut_zeroed_empty_foreign_and_missing_files_are_refused(tmp_path, check):
    path = tmp_path / "t.parquet"
    data = write(path)
    third = len(data) // 3
    for broken in (data[:third], data[:-1], data[:third] + bytes(512) + data[third + 512 :], b"", b"PAR1", b"x" * 999):
        path.write_bytes(broken)
        with pytest.raises(DamagedFile, match=r"t\.parquet: damaged.*; way out"):
            check(path, "way out")
    pq.write_table(TABLE, path)
    with pytest.raises(DamagedFile, match="damaged, or written by an earlier version without a seal; way out"):
        check(path, "way out")
    path.unlink()
    with pytest.raises(MissingFile, match=r"t\.parquet: this file is missing; way out"):
        check(path, "way out")


def test_a_table_of_another_version_is_refused_with_the_difference(tmp_path):
    path = tmp_path / "t.parquet"
    tables.write(path, TABLE.drop_columns(["width"]).append_column("seed", TABLE["width"]))
    with pytest.raises(DamagedFile, match=r"not a table of this version of herbray \(lacks width, has seed\); way out"):
        tables.read(path, "way out", TABLE.schema)


def test_an_error_of_the_storage_is_not_damage(tmp_path):
    (tmp_path / "t.parquet").symlink_to(tmp_path / "t.parquet")  # a loop: the system refuses to open it
    with pytest.raises(OSError, match="symbolic links") as caught:
        tables.read(tmp_path / "t.parquet", "way out")
    assert not isinstance(caught.value, ValueError)

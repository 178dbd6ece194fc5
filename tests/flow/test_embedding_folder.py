import numpy as np
import pyarrow as pa
import pytest

from herbray import schema, storage, tables
from herbray.flow.embedding_folder import load_embeddings, read_embeddings
from herbray.tasks import Embeddings


@pytest.fixture
def folder(tmp_path):
    for split, count in (("herbarium", 2), ("random", 3)):
        for part in range(2):
            ids = [f"{split}-{part}-{row}" for row in range(count)]
            table = pa.table({"specimen_id": ids, "split": [split] * count})
            tables.write(tmp_path / f"split={split}" / f"part-{part:05d}.parquet", table)
    storage.write_note(tmp_path / "manifest.json", {"splits": {"herbarium": 4, "random": 6}})
    return tmp_path


def test_a_complete_folder_is_read_in_order(folder):
    assert len(read_embeddings(folder)) == 10


@pytest.mark.parametrize("lost", ["split=random/part-00001.parquet", "split=herbarium/part-00000.parquet"])
def test_a_lost_file_is_noticed(folder, lost):
    (folder / lost).unlink()
    with pytest.raises(ValueError, match=rf"{lost.split('/')[0]}: a file is missing: .* specimens are here; run `herb"):
        read_embeddings(folder)


def test_a_lost_file_of_the_manifest_is_named(folder):
    names = [f"split={split}/part-0000{part}.parquet" for split in ("herbarium", "random") for part in range(2)]
    storage.write_note(folder / "manifest.json", {"splits": {"herbarium": 4, "random": 6}, "files": names})
    assert len(read_embeddings(folder)) == 10
    (folder / names[2]).unlink()
    with pytest.raises(storage.MissingFile, match=r"split=random/part-00000\.parquet: this file is missing; run `herb"):
        read_embeddings(folder)


def test_a_folder_that_has_lost_all_files_is_not_called_empty(folder):
    for file in folder.glob("split=*/*.parquet"):
        file.unlink()
    with pytest.raises(ValueError, match="a file is missing: 0 of 4 specimens"):
        read_embeddings(folder)


def write_part(folder, split, ids, dim):
    rows = [dict.fromkeys(schema.SPECIMEN.names) | {"specimen_id": name, "split": split} for name in ids]
    for number, row in enumerate(rows):
        row["embedding"] = np.full(dim, number, np.float32)
    tables.write(
        folder / f"split={split}" / "part-00000.parquet", pa.Table.from_pylist(rows, schema.embedding_schema(dim))
    )


def test_embeddings_are_loaded_as_the_table_has_them(tmp_path):
    write_part(tmp_path, "random", ["d", "a", "c"], 4)
    write_part(tmp_path, "herbarium", ["b", "e"], 4)
    found, wanted = load_embeddings(tmp_path), Embeddings.from_table(read_embeddings(tmp_path))
    assert np.array_equal(found.features, wanted.features)
    assert list(found.specimen_id) == list(wanted.specimen_id) == list("abcde")
    assert list(found.split) == list(wanted.split)


def test_embeddings_of_another_length_among_the_files_are_named(tmp_path):
    write_part(tmp_path, "random", ["a"], 4)
    write_part(tmp_path, "herbarium", ["b"], 5)
    with pytest.raises(ValueError, match=r"lengths, .*herbarium.* of 5 numbers and .*random.* of 4.*herbray embed"):
        load_embeddings(tmp_path)

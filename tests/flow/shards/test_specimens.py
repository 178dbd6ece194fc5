import shutil

import numpy as np
import pytest

from herbray import tables
from herbray.flow.shards.manifest import list_files, read_index
from herbray.flow.shards.specimens import read_jpegs, read_specimen_columns, read_specimens
from herbray.storage import MissingFile


def test_specimens_are_read_with_their_location_and_jpegs_by_location(small_shards):
    table = read_specimens(small_shards, read_index(small_shards), "validation")
    wanted = tables.read(small_shards / "split=validation" / "part-00000.parquet", "")
    for name, column in (("specimen_id", "specimen_id"), ("label", "genus"), ("gathering", "gathering")):
        assert table[name].to_pylist() == wanted[column].to_pylist()
    places = np.random.default_rng(0).permutation(len(table))[:30]
    assert read_jpegs(small_shards, table.take(places)) == wanted["jpeg"].take(places).to_pylist()
    assert float(np.sum(table["bytes"])) == pytest.approx(sum(map(len, wanted["jpeg"].to_pylist())), rel=0.3)
    assert len(read_specimens(small_shards, read_index(small_shards), "random")) == 0


def test_shards_that_are_not_what_the_index_says_are_refused(small_shards):
    index = read_index(small_shards)
    with pytest.raises(ValueError, match=r"part-00000\.parquet: holds \d+ rows, the index says"):
        read_specimens(small_shards, index.filter([True] * (len(index) - 1) + [False]), "validation")


def test_a_lost_file_of_a_split_is_named(small_shards, tmp_path):
    copy = tmp_path / "shards"
    shutil.copytree(small_shards, copy)
    assert list_files(copy, ["validation"]) == ["split=validation/part-00000.parquet"]
    (copy / "split=validation" / "part-00000.parquet").unlink()
    for read in (lambda: list_files(copy, ["train", "validation"]), lambda: read_specimen_columns(copy, "validation")):
        with pytest.raises(MissingFile, match=r"split=validation/part-00000\.parquet: this file is missing; run `herb"):
            read()

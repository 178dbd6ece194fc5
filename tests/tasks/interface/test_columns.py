import pickle

import numpy as np
import pyarrow as pa
import pytest

from herbray.tasks import Embeddings
from herbray.tasks.interface.columns import FeatureRows, Ids, Labels

NAMES = np.array(["b", None, "a", "b", "c", None], dtype=object)


def test_a_column_of_labels_behaves_as_the_array_it_was_made_of():
    column = Labels.of(NAMES)
    assert column.names.tolist() == ["a", "b", "c"]
    assert column.codes.tolist() == [1, -1, 0, 1, 2, -1]
    assert list(column) == column.copy().tolist() == NAMES.tolist()
    assert (column == "b").tolist() == (NAMES == "b").tolist()
    assert (column != "b").tolist() == (NAMES != "b").tolist()
    assert column.isin(["a", None]).tolist() == [False, True, True, False, False, True]
    assert column[[4, 1]].tolist() == ["c", None]
    assert list(column.take(np.array([2, 1]))) == ["a", None]
    assert column.known().tolist() == [0, 2, 3, 4]
    assert Labels.of(column) is column


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_labels_are_read_from_any_kind_of_arrow_strings(kind):
    column = pa.chunked_array([pa.array(NAMES[:4], pa.string()), pa.array(NAMES[4:], pa.string())]).cast(kind)
    assert list(Labels.from_arrow(column)) == NAMES.tolist()
    assert list(Labels.from_arrow(column.slice(0, 0))) == []


def test_ids_are_one_array_and_the_first_out_of_order_is_found():
    ids = Ids.of(np.array(["a", "b", "d"], dtype=object))
    assert (ids[1], ids[[2, 0]].tolist(), ids[ids[:] == "b"].tolist()) == ("b", ["d", "a"], ["b"])
    assert ids.first_unordered() is None
    assert Ids.of(np.array(["a", "c", "b"], dtype=object)).first_unordered() == 2
    assert Ids.of(np.array(["a", "a"], dtype=object)).first_unordered() == 1


def test_selected_rows_are_copied_only_when_they_are_read(embeddings_of):
    whole = embeddings_of({"Alba": 6, "Borea": 4}, separation=1.0)
    some = whole.take(whole.genus == "Borea")
    two = some.take(np.array([3, 1]))
    assert isinstance(two.features, FeatureRows)
    assert two.features.matrix is whole.features
    assert np.array_equal(np.asarray(two.features), whole.features[[7, 9]])
    assert np.array_equal(some.features[1:3], whole.features[7:9])
    assert whole.take(np.arange(10)) is whole
    assert len(some.take(np.empty(0, np.intp))) == 0


def test_a_pickle_shares_the_matrix_the_codes_and_the_ids(embeddings_of):
    """As Ray's object store does: what is not shared is copied into each task."""
    whole = embeddings_of({"Alba": 600, "Borea": 400}, separation=1.0)
    buffers = []
    alone = pickle.dumps(whole, protocol=5, buffer_callback=buffers.append)
    assert len(alone) < 8_000
    assert sum(buffer.raw().nbytes for buffer in buffers) >= whole.features.nbytes + 9 * 4 * 1000
    again = pickle.loads(alone, buffers=buffers)
    assert np.shares_memory(again.features, whole.features)
    assert list(again.genus) == list(whole.genus)
    assert list(again.specimen_id) == list(whole.specimen_id)


def test_a_matrix_filled_file_by_file_is_that_of_the_table(table_of):
    table = table_of({"Alba": 9, "Borea": 5}, separation=1.0).take(np.random.default_rng(0).permutation(14))
    wanted = Embeddings.from_table(table)
    files = [table["embedding"].slice(0, 5), table["embedding"].slice(5)]
    found = Embeddings.from_files(table.drop_columns(["embedding"]), 16, iter(files))
    assert np.array_equal(found.features, wanted.features)
    assert list(found.specimen_id) == list(wanted.specimen_id)
    assert list(found.species) == list(wanted.species)
    with pytest.raises(ValueError, match="5 embeddings for 14 specimens"):
        Embeddings.from_files(table.drop_columns(["embedding"]), 16, iter(files[:1]))

import pytest

from herbray.tasks.discriminate import Discriminate
from herbray.tasks.identify import Identify
from herbray.tasks.leakage import Leakage
from herbray.tasks.methods.memory import Size, describe_way_out, estimate_memory, measure_size
from herbray.tasks.silhouette import Silhouette
from herbray.tasks.transfer import Transfer

GIB = 2**30


def test_the_size_is_that_of_the_split_and_of_the_rank_with_the_most_names(embeddings_of):
    labels = embeddings_of({"Alba": 30, "Borea": 20, "Erema": 10}, separation=1.0, splits=("random", "herbarium"))
    assert measure_size(Identify(ranks=("order", "genus")), labels, "random", 512) == Size(30, 3, 512)
    assert measure_size(Identify(ranks=("order",)), labels, "random+herbarium", 8) == Size(60, 2, 8)
    assert measure_size(Transfer(fitted_on="random"), labels, "herbarium", 8).rows == 60
    assert measure_size(Leakage(), labels, "random", 8).classes == 2


def test_memory_grows_with_rows_and_not_with_rows_times_classes():
    few, many = Size(1_000_000, 10, 512), Size(1_000_000, 5000, 512)
    assert estimate_memory(Identify(), few) == pytest.approx(4.2 * GIB, rel=0.2)
    assert estimate_memory(Identify(), many) - estimate_memory(Identify(), few) < GIB
    assert estimate_memory(Identify(solver="sklearn"), many) > 100 * GIB
    assert estimate_memory(Silhouette(), few) < estimate_memory(Leakage(), few)
    assert "solver=torch" in describe_way_out(Identify(solver="sklearn"))
    assert "solver" not in describe_way_out(Discriminate())

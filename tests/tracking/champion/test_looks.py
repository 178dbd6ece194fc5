import json
import threading

import pytest

from herbray.tracking import ModelNotFound, PromotionLocked, open_run, record_look, register
from herbray.tracking.champion import looks
from herbray.tracking.champion.lock import promotion_lock
from herbray.tracking.registry import get_record
from herbray.tracking.store import client

METRIC = "identify/random/genus/accuracy"


@pytest.fixture(scope="module")
def run(uri):
    return open_run(uri, "looks", "train", {})


@pytest.fixture
def model(run, encoders, request):
    name = request.node.name.replace("[", "-").rstrip("]")[:80]
    register(run, name, encoders[0], "# A card\n")
    return name


def test_each_pair_has_its_own_number_and_keeps_it(uri, model):
    pairs = [(2, 1), (3, 1), (2, 1), (3, 2), (2, 3), (3, 1)]
    assert [record_look(uri, model, "5a5a", METRIC, *pair) for pair in pairs] == [1, 2, 1, 3, 4, 2]


def test_sets_and_models_are_counted_separately(uri, model, run, encoders):
    register(run, f"{model}-other", encoders[1], "# A card\n")
    record_look(uri, model, "5a5a", METRIC, 2, 1)
    assert record_look(uri, model, "beef", METRIC, 2, 1) == 1
    assert record_look(uri, model, "5a5a", "retrieval/random/genus/map_at_r", 3, 1) == 1
    assert record_look(uri, f"{model}-other", "5a5a", METRIC, 3, 1) == 1
    assert record_look(uri, model, "5a5a", METRIC, 3, 1) == 2
    tags = [text for key, text in get_record(uri, model).tags.items() if key.startswith(looks.LOOKS_TAG)]
    assert sorted((each["shards"], each["metric"], each["count"]) for each in map(json.loads, tags)) == [
        ("5a5a", METRIC, 2),
        ("5a5a", "retrieval/random/genus/map_at_r", 1),
        ("beef", METRIC, 1),
    ]


def test_the_number_of_stored_pairs_is_limited_and_the_count_continues(uri, model, monkeypatch):
    monkeypatch.setattr(looks, "_REMEMBERED", 3)
    assert [record_look(uri, model, "5a5a", METRIC, version, 1) for version in range(2, 8)] == [1, 2, 3, 4, 5, 6]
    assert record_look(uri, model, "5a5a", METRIC, 6, 1) == 5
    assert record_look(uri, model, "5a5a", METRIC, 2, 1) == 7  # forgotten: the stricter way


def test_concurrent_looks_get_different_numbers(uri, model):
    together, numbers = threading.Barrier(5), []

    def attempt(version):
        together.wait()
        numbers.append(record_look(uri, model, "5a5a", METRIC, version, 1))

    threads = [threading.Thread(target=attempt, args=(version,)) for version in range(2, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4, 5]


def test_a_look_waits_for_the_models_lock(uri, model, monkeypatch):
    monkeypatch.setattr(looks, "promotion_lock", lambda uri, name: promotion_lock(uri, name, 0.1))
    with promotion_lock(uri, model), pytest.raises(PromotionLocked, match=model):
        record_look(uri, model, "5a5a", METRIC, 2, 1)
    assert record_look(uri, model, "5a5a", METRIC, 2, 1) == 1


BROKEN = {"text": "", "list": "[]", "count": '{"count": 0, "pairs": [[2, 1]]}', "pair": '{"count": 1, "pairs": [[2]]}'}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_an_unreadable_tag_is_an_error_and_not_a_count_of_zero(uri, model, text):
    record_look(uri, model, "5a5a", METRIC, 2, 1)
    key = next(key for key in get_record(uri, model).tags if key.startswith(looks.LOOKS_TAG))
    client(uri).set_registered_model_tag(model, key, text)
    with pytest.raises(ValueError, match=rf"{key} is not a list of comparisons"):
        record_look(uri, model, "5a5a", METRIC, 3, 1)


def test_an_unknown_model_is_an_error(uri):
    with pytest.raises(ModelNotFound, match="no model 'nobody'"):
        record_look(uri, "nobody", "5a5a", METRIC, 2, 1)

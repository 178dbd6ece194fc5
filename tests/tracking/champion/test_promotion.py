import threading

import pytest

from herbray.tracking import (
    Decision,
    ModelNotFound,
    PromotionLocked,
    PromotionOvertaken,
    apply_decision,
    open_run,
    read_card,
    read_section,
    read_standing,
    register,
    resolve,
    set_alias,
    write_card,
)
from herbray.tracking.champion.lock import LOCK_SUFFIX, file_lock, model_lock, promotion_lock
from herbray.tracking.store import client, sqlite_file

CARD = "# A card\n\n## Promotion\n\nNot considered yet.\n\n## Settings\n\nseed: 89\n"


@pytest.fixture(scope="module")
def run(uri):
    return open_run(uri, "promotion", "train", {})


@pytest.fixture
def model(run, encoders, request):
    """A registered model of two versions, without a champion."""
    name = request.node.name.replace("[", "-").rstrip("]")[:80]
    for encoder in encoders:
        register(run, name, encoder, CARD)
    return name


def tags_of(uri, name, version):
    return client(uri).get_model_version(name, str(version)).tags


def decision(name, version, former, outcome="promoted", **figures):
    return Decision(name, version, former, outcome, f"because of {figures}", figures)


def champion(uri, name):
    return resolve(uri, f"models:/{name}@champion")[1]


def test_a_decision_moves_the_alias_and_is_recorded_in_tags_and_both_cards(uri, model):
    apply_decision(uri, decision(model, 1, None, gain=0.1, level=0.95), read_standing(uri, model))
    assert champion(uri, model) == 1
    apply_decision(uri, decision(model, 2, 1, gain=0.2), read_standing(uri, model))
    assert champion(uri, model) == 2
    tags = tags_of(uri, model, 2)
    assert tags["herbray.promotion"] == "promoted: because of {'gain': 0.2}"
    assert tags["herbray.promotion.gain"] == "0.2"
    assert tags["herbray.promotion.outcome"] == "promoted"
    assert "version 2 was promoted" in tags_of(uri, model, 1)["herbray.promotion"]
    lines = read_section(read_card(uri, model, 1), "Promotion").splitlines()
    assert len(lines) == 2
    assert "promoted: because of {'gain': 0.1, 'level': 0.95}" in lines[0]
    assert "no longer champion: version 2 was promoted" in lines[1]
    described = client(uri).get_model_version(model, "2").description
    assert described == read_card(uri, model, 2)
    assert described.endswith("## Settings\n\nseed: 89\n")


def test_a_decision_against_a_version_leaves_the_alias_and_replaces_figures(uri, model):
    apply_decision(uri, decision(model, 1, None), read_standing(uri, model))
    for _ in range(2):  # the same job twice
        apply_decision(uri, decision(model, 2, 1, "kept", gain=-0.1, low=-0.2), read_standing(uri, model))
    assert champion(uri, model) == 1
    assert len(read_section(read_card(uri, model, 2), "Promotion").splitlines()) == 1
    apply_decision(uri, decision(model, 2, 1, "kept", gain=-0.3), read_standing(uri, model))
    tags = tags_of(uri, model, 2)
    assert tags["herbray.promotion.gain"] == "-0.3"
    assert "herbray.promotion.low" not in tags
    assert "herbray.sha256" in tags


def test_rolling_back_is_a_decision_too(uri, model):
    apply_decision(uri, decision(model, 1, None), read_standing(uri, model))
    apply_decision(uri, decision(model, 2, 1), read_standing(uri, model))
    apply_decision(uri, decision(model, 1, 2, "rolled back"), read_standing(uri, model))
    assert champion(uri, model) == 1
    assert tags_of(uri, model, 1)["herbray.promotion.outcome"] == "rolled back"
    assert "no longer champion: version 1 was rolled back" in tags_of(uri, model, 2)["herbray.promotion"]


def test_a_decision_on_an_outdated_standing_changes_nothing(uri, model):
    seen = read_standing(uri, model)
    apply_decision(uri, decision(model, 1, None), seen)
    before = tags_of(uri, model, 2)
    with pytest.raises(PromotionOvertaken, match=r"was none when version 2 was compared and is version 1 now"):
        apply_decision(uri, decision(model, 2, None), seen)
    assert champion(uri, model) == 1
    assert tags_of(uri, model, 2) == before


def test_a_standing_after_moving_back_is_a_different_standing(uri, model):
    """Who rolled back meanwhile knew something that the comparison did not."""
    apply_decision(uri, decision(model, 1, None), read_standing(uri, model))
    seen = read_standing(uri, model)
    apply_decision(uri, decision(model, 2, 1), read_standing(uri, model))
    apply_decision(uri, decision(model, 1, 2, "rolled back"), read_standing(uri, model))
    assert read_standing(uri, model).champion == seen.champion
    with pytest.raises(PromotionOvertaken):
        apply_decision(uri, decision(model, 2, 1), seen)


def test_an_alias_moved_by_hand_is_noticed(uri, model):
    seen = read_standing(uri, model)
    set_alias(uri, model, "champion", 2)
    with pytest.raises(PromotionOvertaken, match="version 2 now"):
        apply_decision(uri, decision(model, 1, None), seen)


def test_of_two_concurrent_decisions_one_wins_and_the_other_fails(uri, model):
    seen = read_standing(uri, model)
    together = threading.Barrier(2)
    told = []

    def attempt(version):
        together.wait()
        try:
            apply_decision(uri, decision(model, version, None), seen)
        except PromotionOvertaken as error:
            told.append((version, str(error)))

    threads = [threading.Thread(target=attempt, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [(loser, message)] = told
    assert champion(uri, model) == 3 - loser
    assert "another promotion was faster" in message
    assert "herbray.promotion" not in tags_of(uri, model, loser)


def test_missing_models_and_versions_are_errors(uri, model):
    with pytest.raises(ModelNotFound, match="no version 7"):
        apply_decision(uri, decision(model, 7, None), read_standing(uri, model))
    with pytest.raises(ModelNotFound, match="no model 'nobody'"):
        read_standing(uri, "nobody")
    with pytest.raises(ModelNotFound, match="no version 7"):
        read_card(uri, model, 7)


@pytest.mark.parametrize("kind", ["file", "name"])
def test_a_lock_is_exclusive_and_released(uri, model, kind):
    def lock(patience):
        database = sqlite_file(uri)
        return file_lock(database, model, patience) if kind == "file" else model_lock(uri, model, patience)

    with lock(0.3):
        with pytest.raises(PromotionLocked, match=model), lock(0.3):
            pass
    with lock(0.3):
        pass
    with pytest.raises(RuntimeError, match="own"), lock(0.3):
        raise RuntimeError("own")
    with lock(0.3):
        pass
    names = [each.name for each in client(uri).search_registered_models(f"name = '{model}{LOCK_SUFFIX}'")]
    assert names == []


def test_models_do_not_wait_for_each_other(uri, model):
    with promotion_lock(uri, model), promotion_lock(uri, f"{model}-other", patience=0.1):
        pass


def test_of_many_who_ask_for_the_name_one_gets_it(uri, model):
    """The lock of a server: a database makes a name once."""
    together, inside, most = threading.Barrier(6), [], []

    def attempt():
        together.wait()
        with model_lock(uri, model, 30):
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


def test_a_long_card_is_complete_in_the_file_and_shortened_in_the_description(uri, model, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter22")
    card = CARD + "long " * 2_000 + "hunter22\n"
    write_card(uri, model, 1, card)
    assert read_card(uri, model, 1) == card.replace("hunter22", "***")
    assert client(uri).get_model_version(model, "1").description.endswith("(full text in README.md)")

from herbray.report.names import Kind, name_encoders, name_kinds
from herbray.schema import Identity


def kind(name, model="triplet", init="random"):
    return Kind(model, init, name, model, "")


def test_a_model_alone_is_called_by_itself():
    kinds = [kind("k1"), kind("k2", "classifier", "imagenet")]
    assert name_kinds(kinds, {}) == {"k1": "triplet", "k2": "classifier"}


def test_names_contain_start_weights_if_a_model_has_several():
    kinds = [kind("k1"), kind("k2", init="models:/before/1"), kind("k3", "classifier")]
    assert name_kinds(kinds, {}) == {"k1": "triplet (random)", "k2": "triplet (before/1)", "k3": "classifier"}


def test_names_of_similar_kinds_contain_their_differing_settings():
    settings = {
        "k1": {"optimizer": {"lr": 0.001, "name": "adam"}, "encoder": {"normalise": True}},
        "k2": {"optimizer": {"lr": 0.01, "name": "adam"}, "encoder": {"normalise": False}},
        "k3": {"optimizer": {"lr": 0.001, "name": "adam"}},
    }
    assert name_kinds(map(kind, settings), settings) == {
        "k1": "triplet (normalise=true, lr=0.001)",
        "k2": "triplet (normalise=false, lr=0.01)",
        "k3": "triplet (normalise=not set, lr=0.001)",
    }
    two = {
        "k1": {"objective": {"normalise": True}, "encoder": {"normalise": True}},
        "k2": {"objective": {"normalise": False}, "encoder": {"normalise": False}},
    }
    assert name_kinds(map(kind, two), two)["k1"] == "triplet (encoder.normalise=true, objective.normalise=true)"


def test_names_end_with_digits_of_the_kind_if_nothing_shorter_differs():
    settings = {"aaaa000001": {"a": 1, "b": 1, "c": 1}, "aaaa000002": {"a": 2, "b": 2, "c": 2}}
    assert name_kinds(map(kind, settings), settings) == {
        "aaaa000001": "triplet (000001)",
        "aaaa000002": "triplet (000002)",
    }
    assert len(set(name_kinds(map(kind, settings), {}).values())) == 2
    long = [kind(name, init=f"/{'x' * 90}/{name}") for name in settings]
    assert len(set(name_kinds(long, {}).values())) == 2


def test_names_do_not_depend_on_the_order_and_are_one_printable_line():
    kinds = [kind("k1", "a\nb"), kind("k2", "a\nb", init="\x1b[31m"), kind("k1", "a\nb", init="z, another path to it")]
    names = name_kinds(kinds, {})
    assert names == name_kinds(kinds[::-1], {})
    assert all(name.isprintable() for name in names.values())
    assert names["k1"] == "a b (random)"


def test_encoder_names_contain_the_seed_if_the_kind_has_several():
    encoders = [Identity("triplet", f"e{seed}", "triplet", "k1", "random", "", seed) for seed in (1, 2)]
    encoders.append(Identity("classifier", "e3", "classifier", "k2", "random", "", 1))
    names = {"k1": "triplet", "k2": "classifier"}
    assert list(name_encoders(encoders, names).values()) == ["triplet, seed 1", "triplet, seed 2", "classifier"]
    again = [*encoders, Identity("triplet", "e4", "triplet", "k1", "random", "", 1)]  # by other code
    assert len(set(name_encoders(again, names).values())) == 4

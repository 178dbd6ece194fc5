"""Fingerprints differ for what gives other numbers, and kinds for what was made in another way."""

import pytest

from herbray.flow.training.fingerprints import (
    encoder_fingerprint,
    encoder_kind,
    fingerprint_of,
    read_identity,
    weights_fingerprint,
)
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, read_encoder, save_encoder

pytestmark = pytest.mark.slow

SPEC = {"seed": 1, "optimizer": {"lr": 0.001}, "encoder": {"size": 32, "init": "random"}, "reports": 4}


def card_of(encoder, **changes):
    facts = {key: getattr(encoder, key) for key in ("arch", "stem", "normalise", "size", "dim")}
    known = {
        "classes": (),
        "objective": "triplet",
        "init": "random",
        "seed": 1,
        "spec": SPEC,
        "start": fingerprint_of(encoder),
    }
    return EncoderCard(**(facts | known | changes))


@pytest.fixture(scope="module")
def encoder():
    return build_encoder(EncoderSpec(size=32), 1)


def saved(folder, encoder, **changes):
    card = card_of(encoder, **changes)
    save_encoder(folder, encoder, card)
    return read_identity(folder, read_encoder(folder)[1])


def test_equal_weights_of_another_size_normalisation_or_geometry_are_another_encoder(tmp_path, encoder):
    prints = {saved(tmp_path / "a", encoder).encoder, saved(tmp_path / "pad", encoder, geometry="pad").encoder}
    for name, fact in {"size": {"size": 40}, "pixels": {"normalise": False}}.items():
        other = build_encoder(EncoderSpec(**({"size": 32} | fact)), 1)
        prints.add(saved(tmp_path / name, other).encoder)
    assert len(prints) == 4
    assert {each[:16] for each in prints} == {weights_fingerprint(tmp_path / "a")}


def test_an_encoder_in_memory_has_the_fingerprint_of_its_folder(tmp_path, encoder):
    assert (
        fingerprint_of(encoder)
        == saved(tmp_path, encoder).encoder
        == encoder_fingerprint(tmp_path, read_encoder(tmp_path)[1])
    )
    assert fingerprint_of(encoder) != fingerprint_of(build_encoder(EncoderSpec(size=32), 2))


def test_a_kind_is_all_but_the_seed(encoder):
    other = build_encoder(EncoderSpec(size=32), 2)
    first = encoder_kind(card_of(encoder))
    assert first == encoder_kind(card_of(other, seed=2, spec=SPEC | {"seed": 2, "reports": 1}))
    assert first == encoder_kind(card_of(encoder, label="triplet"))  # what it is called anyhow
    for changes in (
        {"spec": SPEC | {"optimizer": {"lr": 0.01}}},
        {"label": "faster"},
        {"shards_fingerprint": "another"},
        {"objective": "classifier"},
        {"init": "models:/before/1"},
    ):
        assert encoder_kind(card_of(encoder, **changes)) != first


def test_one_start_has_one_kind_wherever_it_is_read_from(encoder):
    places = [
        encoder_kind(card_of(encoder, init=init, spec=SPEC)) for init in ("models:/before/1", "runs/before/encoder")
    ]
    assert len(set(places)) == 1
    unknown = [encoder_kind(card_of(encoder, init=init, start="")) for init in ("models:/before/1", "models:/before/2")]
    assert len(set(unknown)) == 2


def test_random_starts_of_several_seeds_are_one_kind_and_the_own_start_of_each_training(tmp_path):
    made = {seed: build_encoder(EncoderSpec(size=32), seed) for seed in (1, 2)}
    frozen = [
        saved(tmp_path / f"start{seed}", each, objective="untrained", seed=seed, spec={}) for seed, each in made.items()
    ]
    trained = saved(tmp_path / "trained", made[1], spec=SPEC)
    assert len({each.encoder for each in frozen}) == 2
    assert {each.kind for each in frozen} == {each.start_kind for each in frozen} == {trained.start_kind}
    assert frozen[0].model == "untrained"
    cifar = build_encoder(EncoderSpec(size=32, stem="cifar"), 1)
    assert saved(tmp_path / "cifar", cifar, objective="untrained").kind != trained.start_kind


def test_a_card_of_an_earlier_version_is_read_and_its_random_start_is_drawn_again(tmp_path, encoder):
    now, before = (
        saved(tmp_path / name, encoder, start=start) for name, start in (("a", fingerprint_of(encoder)), ("b", ""))
    )
    assert before == now
    more = SPEC | {"label": "first", "register_as": "x", "compile": "auto", "experiment": "x"}  # among the settings
    assert saved(tmp_path / "e", encoder, spec=more) == saved(tmp_path / "f", encoder, label="first")
    start = saved(tmp_path / "c", encoder, objective="untrained", start="")
    assert start.kind == now.start_kind
    lost = saved(tmp_path / "d", encoder, init="imagenet", start="")  # whose weights are not on this machine
    assert lost.start_kind not in ("", now.start_kind)

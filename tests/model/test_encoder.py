import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from torch.nn import BatchNorm2d

from herbray.config import ConfigError, parse
from herbray.model.encoder import EncoderRefused, EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, save_encoder
from herbray.model.start_weights import imagenet_path


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trap-was-sprung"),))


def same(a, b):
    return all(torch.equal(t, b.state_dict()[name]) for name, t in a.state_dict().items())


def test_random_start_follows_from_the_seed_and_leaves_the_generators_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    spec = EncoderSpec(size=64)
    first, second, other = build_encoder(spec, 1), build_encoder(spec, 1), build_encoder(spec, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, second)
    assert not same(first, other)
    assert first.training


@pytest.mark.slow
def test_imagenet_weights_come_from_the_cache_or_a_given_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = EncoderSpec(init="imagenet", size=64)
    with pytest.raises(EncoderRefused, match=r"resnet18-f37072fd\.pth: no such file.*TORCH_HOME"):
        build_encoder(spec, 0)
    published = torchvision.models.resnet18(weights=None).state_dict()
    published = {n: t for n, t in published.items() if not n.endswith("num_batches_tracked")}  # as the real file
    imagenet_path("resnet18").parent.mkdir(parents=True)
    torch.save(published, imagenet_path("resnet18"))
    encoder = build_encoder(spec, 0)
    assert torch.equal(encoder.network.layer4[1].conv2.weight, published["layer4.1.conv2.weight"])
    imagenet_path("resnet18").rename(tmp_path / "elsewhere.pth")
    assert same(encoder, build_encoder(spec, 5, tmp_path / "elsewhere.pth"))


@pytest.mark.slow
def test_imagenet_file_cannot_run_code_and_must_be_a_resnet18(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = EncoderSpec(init="imagenet", size=64)
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(EncoderRefused, match="not a file of weights"):
        build_encoder(spec, 0, tmp_path / "trap.pth")
    torch.save(Trap(), tmp_path / "trap2.pth")
    with pytest.raises(EncoderRefused, match="not a file of weights"):
        build_encoder(spec, 0, tmp_path / "trap2.pth")
    assert not Path("trap-was-sprung").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(EncoderRefused, match="not a mapping of tensors"):
        build_encoder(spec, 0, tmp_path / "list.pth")
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), tmp_path / "deep.pth")
    with pytest.raises(EncoderRefused, match="not the weights of resnet18"):
        build_encoder(spec, 0, tmp_path / "deep.pth")
    broken = torchvision.models.resnet18(weights=None).state_dict()
    broken["conv1.weight"][0] = float("inf")
    torch.save(broken, tmp_path / "broken.pth")
    with pytest.raises(EncoderRefused, match=r"conv1\.weight holds NaN or infinity"):
        build_encoder(spec, 0, tmp_path / "broken.pth")


@pytest.mark.slow
def test_start_from_a_folder_takes_its_weights_at_any_size(tmp_path):
    trained = build_encoder(EncoderSpec(size=64), 3)
    facts = {"arch": "resnet18", "stem": "standard", "normalise": True, "size": 64, "dim": 512}
    save_encoder(tmp_path, trained, EncoderCard(**facts, classes=(), objective="triplet", init="random", seed=3))
    found = build_encoder(EncoderSpec(init=str(tmp_path), size=96), 0)
    assert same(trained, found)
    assert found.training
    assert found(torch.rand(2, 3, 96, 96)).shape == (2, 512)
    assert same(trained, build_encoder(EncoderSpec(init="models:/herbray-triplet@champion"), 0, tmp_path))
    with pytest.raises(EncoderRefused, match=r"trained with normalise=True, but encoder\.normalise=False"):
        build_encoder(EncoderSpec(init=str(tmp_path), normalise=False), 0)


def test_a_registry_address_needs_a_resolved_folder():
    with pytest.raises(EncoderRefused, match="pull it first"):
        build_encoder(EncoderSpec(init="models:/herbray-triplet@champion"), 0)


def test_imagenet_does_not_fit_the_cifar_stem():
    with pytest.raises(ConfigError, match="init=imagenet needs a standard stem"):
        parse(EncoderSpec, {"init": "imagenet", "stem": "cifar"})


@pytest.mark.parametrize("arch", ["mobilenet_v3_small", "efficientnet_lite0", "resnet18"])
def test_norms_of_a_random_start_follow_their_batches_at_the_usual_rate(arch):
    norms = [module for module in build_encoder(EncoderSpec(arch=arch), 0).modules() if isinstance(module, BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.1}


def test_norms_of_published_weights_keep_their_own_rate():
    encoder = build_encoder(EncoderSpec(arch="efficientnet_lite0", init="imagenet"), 0)
    assert {module.momentum for module in encoder.modules() if isinstance(module, BatchNorm2d)} == {0.01}

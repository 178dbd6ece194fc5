import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from herbray.model import portable
from herbray.model.portable import Encoder, EncoderRefused, decode_square


def encode(image, form="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def gradient(width, height):
    x = np.linspace(0, 255, width)[None, :, None].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None, None].repeat(width, 1)
    return Image.fromarray(np.concatenate([x, y, 255 - x], 2).astype(np.uint8))


def rewrite(source, folder, change):
    folder.mkdir()
    (folder / portable.WEIGHTS_FILE).write_bytes((source / portable.WEIGHTS_FILE).read_bytes())
    tree = json.loads((source / portable.CARD_FILE).read_text())
    del tree["sha256"]  # whoever forges a card knows how to seal it
    change(tree)
    (folder / portable.CARD_FILE).write_text(json.dumps(tree))
    return folder


@pytest.fixture(scope="module")
def encoder():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Encoder(size=64).eval()


def test_parameters_are_those_of_resnet18_without_its_classifier(encoder):
    assert sum(p.numel() for p in encoder.parameters()) == 11_176_512
    assert "network.fc.weight" not in encoder.state_dict()
    assert not any(name in ("mean", "std") for name in encoder.state_dict())


def test_cifar_stem_keeps_four_times_the_side_of_the_map():
    sides = {}
    for stem in ("standard", "cifar"):
        encoder = Encoder(stem=stem, size=32).eval()
        encoder.network.layer4.register_forward_hook(lambda _m, _i, out, stem=stem: sides.update({stem: out.shape[-1]}))
        encoder(torch.zeros(1, 3, 32, 32))
    assert sides == {"standard": 1, "cifar": 4}


def test_features_are_the_average_pool_of_the_normalised_image(encoder):
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = (images - mean[:, None, None]) / std[:, None, None]
    net = encoder.network
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = layer(x)
    features = encoder(images)
    assert features.shape == (2, encoder.dim) == (2, 512)
    torch.testing.assert_close(features, x.mean(dim=(2, 3)))
    torch.testing.assert_close(
        encoder(images.contiguous(memory_format=torch.channels_last)), features, rtol=1e-3, atol=1e-4
    )


def test_published_pixels_are_left_as_they_are(encoder):
    raw = Encoder(size=64, normalise=False).eval()
    raw.load_state_dict(encoder.state_dict())
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(raw(images), encoder.network(images))


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (torch.zeros(1, 3, 32, 32), "3, 64, 64.*size=32"),
        (torch.zeros(1, 1, 64, 64), "3, 64, 64"),
        (torch.zeros(3, 64, 64), "3, 64, 64"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "uint8.*floats"),
    ],
)
def test_other_input_is_refused_with_both_shapes(encoder, images, told):
    with pytest.raises(ValueError, match=told):
        encoder(images)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"arch": "vgg"}, "choose from resnet18"),
        ({"stem": "wide"}, "one of standard, cifar"),
        ({"size": 8}, "choose from 16 to 2048 px"),
    ],
)
def test_unknown_network_is_refused(facts, words):
    with pytest.raises(EncoderRefused, match=words):
        Encoder(**facts)


def test_square_keeps_the_aspect_and_cuts_the_centre():
    pixels = decode_square(encode(gradient(300, 100), "PNG"), 50)
    assert pixels.shape == (50, 50, 3)
    assert pixels.dtype == np.uint8
    assert abs(int(pixels[:, 0, 0].mean()) - 255 / 3) < 4  # the left third is cut off
    assert abs(int(pixels[:, -1, 0].mean()) - 2 * 255 / 3) < 4
    assert pixels[0, :, 1].mean() < 4
    assert pixels[-1, :, 1].mean() > 251


def test_a_padded_square_is_the_one_that_shards_hold():
    from herbray.data.imaging import images

    for width, height in ((300, 200), (90, 400), (1600, 1200), (64, 64)):
        data = encode(gradient(width, height), quality=95)
        ours, shards = (
            np.asarray(one).astype(int)
            for one in (decode_square(data, 64, "pad"), images.shrink_to_pixels(data, 64, "pad"))
        )
        assert ours.shape == shards.shape == (64, 64, 3)
        assert np.abs(ours - shards).max() < 12


def test_square_turns_the_image_as_its_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # the right edge of the stored image is the bottom
    upright = decode_square(encode(gradient(64, 64), quality=95, exif=exif), 64)
    torch.testing.assert_close(
        upright.astype(float), np.rot90(np.asarray(gradient(64, 64)), -1).astype(float), atol=12, rtol=0
    )


def test_a_large_jpeg_decoded_at_reduced_scale_looks_like_the_full_one():
    large = gradient(1600, 1200)
    reduced, full = decode_square(encode(large, quality=95), 64), decode_square(encode(large, "PNG"), 64)
    assert np.abs(reduced.astype(int) - full.astype(int)).max() < 6


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "I;16", "LA", "1"])
def test_other_colour_modes_become_rgb(mode):
    grey = gradient(40, 40).convert("L")
    image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    assert image.mode == mode
    pixels = decode_square(encode(image, "PNG"), 40).astype(int)
    assert abs(pixels.mean() - np.asarray(grey).mean()) < 8


def test_transparent_becomes_white_paper():
    assert (decode_square(encode(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "PNG"), 20) == 255).all()


def test_damaged_foreign_and_huge_images_are_refused(encoder, monkeypatch):
    good = encode(gradient(64, 64))
    for bad in (b"", b"GIF89a" + bytes(100), encode(gradient(64, 64), "BMP")):
        with pytest.raises(ValueError, match="neither JPEG nor PNG"):
            decode_square(bad, 32)
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_square(good[: len(good) // 2], 32)
    with pytest.raises(ValueError, match="image 2: the data"):
        encoder.embed([good, good, b"no"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="too large"):
        decode_square(good, 32)


def test_embed_is_forward_of_the_squares_whatever_the_batch_and_mode(encoder):
    images = [encode(gradient(80 + i, 64)) for i in range(5)]
    stacked = torch.from_numpy(np.stack([decode_square(image, 64) for image in images])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        due = encoder(stacked).numpy()
    encoder.train()
    before = {name: t.clone() for name, t in encoder.state_dict().items()}
    found = encoder.embed(images, batch=2)
    assert encoder.training
    encoder.eval()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, due, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(t, encoder.state_dict()[name]) for name, t in before.items())
    assert encoder.embed([]).shape == (0, 512)


@pytest.mark.slow
def test_the_folder_works_without_herbray(tmp_path, encoder):
    from herbray.model.encoder_card import EncoderCard, save_encoder

    facts = {"arch": "resnet18", "stem": "standard", "normalise": True, "size": 64, "dim": 512}
    card = EncoderCard(**facts, classes=("Rubus",), objective="triplet", init="random", seed=0)
    save_encoder(tmp_path / "model", encoder, card)
    (tmp_path / "sheet.jpg").write_bytes(encode(gradient(90, 70)))
    shutil.copytree(Path(portable.__file__).parent, tmp_path / "portable")
    script = (
        "import sys; sys.path.insert(0, '.'); import numpy, portable\n"
        "data = open('sheet.jpg', 'rb').read()\n"
        "numpy.save('out.npy', portable.load('model').embed([data]))\n"
        "assert not any(name.startswith('herbray') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, check=True)
    due = encoder.embed([(tmp_path / "sheet.jpg").read_bytes()])
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), due, atol=1e-6)
    for change in (lambda t: t.pop("size"), lambda t: t.update(size="64"), lambda t: t.update(normalise=1)):
        with pytest.raises(EncoderRefused, match=r"(size|normalise) is"):
            portable.load(rewrite(tmp_path / "model", tmp_path / f"m{id(change)}", change))

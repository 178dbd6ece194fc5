"""The networks of Walker et al. 2022 as the study tells them: layers, shapes and counts, at its 256 px."""

import pytest
import torch
from torch import nn

from herbray import config
from herbray.flow.training.specification import Train
from herbray.model.encoder import build_encoder

GENERA = 700


@pytest.fixture(scope="module", params=["classifier", "triplet", "autoencoder"])
def study(request):
    """(name, encoder, objective) of the preset, from random start weights."""
    tree = {"preset": "walker2022", "objective": {"name": request.param}, "encoder": {"init": "random"}}
    spec = config.parse(Train, tree)
    encoder = build_encoder(spec.encoder, 0).eval()
    return request.param, encoder, spec.objective.build(encoder.dim, spec.encoder.size, GENERA).eval()


def shapes(module):
    return [tuple(p.shape) for p in module.parameters()]


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.slow
def test_encoder_gives_512_numbers_of_256_pixels_and_takes_off_no_mean(study):
    name, encoder, _ = study
    sides = []
    hook = encoder.network.layer4.register_forward_hook(lambda _m, _i, out: sides.append(tuple(out.shape)))
    with torch.inference_mode():
        images = torch.rand(1, 3, 256, 256)
        features = encoder(images)
        assert torch.equal(features, encoder.network(images))
    hook.remove()
    assert features.shape == (1, 512)
    assert sides[0] == ((1, 512, 32, 32) if name == "autoencoder" else (1, 512, 8, 8))


def test_encoder_has_the_parameters_of_resnet18_without_its_classifier(study):
    name, encoder, _ = study
    first = (64, 3, 3, 3) if name == "autoencoder" else (64, 3, 7, 7)
    assert shapes(encoder)[0] == first
    assert count(encoder) == 11_689_512 - 513_000 - (64 * 3 * (49 - 9) if name == "autoencoder" else 0)
    pools = [module for module in encoder.modules() if isinstance(module, nn.MaxPool2d)]
    assert len(pools) == (0 if name == "autoencoder" else 1)
    assert encoder.network.conv1.stride == ((1, 1) if name == "autoencoder" else (2, 2))


def check_classifier(head):
    layers = [type(layer) for layer in head.layers]
    assert layers == [nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert (head.layers[1].p, head.layers[5].p) == (0.25, 0.5)
    assert shapes(head) == [(512,), (512,), (512, 512), (512,), (512,), (GENERA, 512)]
    assert head.layers(torch.rand(2, 512)).shape == (2, GENERA)


def check_triplet(loss):
    assert count(loss) == 0
    features = torch.zeros(48, 512)
    features[1, 0], features[32:, 1] = 30.0, 40.0  # raw lengths: not brought to 1, not projected
    labels = torch.tensor([0, 0] + [1] * 30 + [2] * 16)
    out = loss(features, torch.empty(0), labels)
    hinges = [max(0.0, 30 - 40 + 1.0), max(0.0, 30 - 50 + 1.0)] + [max(0.0, 0 - 40 + 1.0)] * 30
    assert out["loss"].item() == pytest.approx(sum(hinges) / 32)
    assert out["near"].item() == pytest.approx(60 / 32)


def stage(given, made, scale):
    """Two residual blocks; the first changes the width and is enlarged, with a 1×1 convolution past it."""
    norm = lambda width: [(width,), (width,)]  # noqa: E731
    conv = lambda out, into, side: [(out, into, side, side)]  # noqa: E731
    first = conv(given, given, 3) + norm(given) + conv(made, given, 3) + norm(made)
    past = conv(made, given, 1) + norm(made) if scale > 1 or given != made else []
    return first + past + 2 * (conv(made, made, 3) + norm(made))


def check_autoencoder(decoder):
    due = [(256, 512), (256,), (512 * 4 * 4, 256), (512 * 4 * 4,)]
    due += stage(512, 256, 2) + stage(256, 128, 2) + stage(128, 64, 2) + stage(64, 64, 1)
    due += [(3, 64, 3, 3), (3,)]
    assert shapes(decoder) == due
    sides = []
    for module in (decoder.enlarge, *decoder.stages):
        module.register_forward_hook(lambda _m, _i, out: sides.append(tuple(out.shape[1:])))
    with torch.inference_mode():
        drawn = decoder.reconstruct(torch.randn(1, 512))
    assert sides[0] == (512, 32, 32)  # 4×4, enlarged eightfold
    stages = [(256, 64, 64), (128, 128, 128), (64, 256, 256), (64, 256, 256)]
    assert sides[1:] == [side for side in stages for _ in range(2)]
    assert drawn.shape == (1, 3, 256, 256)
    assert 0 < drawn.min() < drawn.max() < 1


@pytest.mark.slow
def test_head_is_the_published_one(study):
    name, _, objective = study
    {"classifier": check_classifier, "triplet": check_triplet, "autoencoder": check_autoencoder}[name](objective)

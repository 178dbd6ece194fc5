import math

import numpy as np
import pytest
import torch

from herbray.config import ConfigError, parse
from herbray.flow.input.to_device import DeviceBatch
from herbray.flow.training.specification import Optimizer, Train
from herbray.flow.training.worker.step import Rate, learning_rate, make_optimizer, rate_at, side_at, take_step
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.learner import Learner
from herbray.model.objectives.classifier import Classifier
from herbray.model.portable import ARCHITECTURES

ENCODER = {"arch": "mobilenet_v3_small", "size": 32}


def made(objective="classifier", **optimizer):
    tree = {"objective": {"name": objective}, "encoder": ENCODER, "optimizer": optimizer, "precision": "float32"}
    spec = parse(Train, tree)
    learner = Learner(build_encoder(EncoderSpec(**ENCODER), 0), spec.objective.build(576, 32, 3))
    return spec, learner


def batch_of(rows=12):
    images = torch.randint(0, 256, (rows, 32, 32, 3), dtype=torch.uint8)
    return DeviceBatch(images, torch.arange(rows) % 3, np.arange(rows), 7, False)


def test_every_parameter_is_in_one_group_whatever_the_settings():
    for settings in ({}, {"layer_decay": 0.5}, {"freeze": 0.3}, {"layer_decay": 0.8, "freeze": 0.1}):
        spec, learner = made(**settings)
        groups = make_optimizer(spec.optimizer, learner).param_groups
        grouped = [id(p) for group in groups for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in learner.parameters())
        assert all(p.ndim <= 1 for group in groups if not group["weight_decay"] for p in group["params"])


@pytest.mark.slow
@pytest.mark.parametrize("arch", [*ARCHITECTURES, "timm:vit_tiny_patch16_224", "open_clip:RN50"])
def test_layer_decay_reaches_every_parameter_of_every_architecture(arch):
    if ":" in arch:
        pytest.importorskip(arch.partition(":")[0])
    encoder = build_encoder(EncoderSpec(arch=arch, size=224), 0)
    learner = Learner(encoder, Classifier().build(encoder.dim, 224, 3))
    groups = make_optimizer(Optimizer(layer_decay=0.9), learner).param_groups
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in learner.parameters())
    scales = {group["scale"] for group in groups}
    assert len(scales) >= 6  # deep enough to be of use
    assert max(scales) == 1.0


def test_the_first_layers_get_the_smallest_share_and_the_head_the_whole():
    spec, learner = made(layer_decay=0.5)
    scale = {id(p): g["scale"] for g in make_optimizer(spec.optimizer, learner).param_groups for p in g["params"]}
    shares = [scale[id(p)] for p in learner.encoder.parameters()]
    assert shares == sorted(shares)
    assert shares[-1] == 0.5
    assert shares[0] < 0.01
    assert {scale[id(p)] for p in learner.objective.parameters()} == {1.0}


def test_a_frozen_encoder_keeps_its_weights_while_the_head_learns():
    spec, learner = made(freeze=0.5)
    optimizer = make_optimizer(spec.optimizer, learner)
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    take_step(learner, optimizer, Rate(1e-2, frozen=True), batch_of(), spec, 32)
    for name, p in learner.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("encoder."), name
    take_step(learner, optimizer, Rate(1e-2), batch_of(), spec, 32)
    assert not torch.equal(learner.encoder.network.features[0][0].weight, before["encoder.network.features.0.0.weight"])


def test_the_encoder_is_frozen_for_its_share_of_the_steps():
    spec = Optimizer(freeze=0.25)
    assert [rate_at(spec, step, 8).frozen for step in range(8)] == [True, True] + [False] * 6
    assert [rate_at(spec, step, 8).lr for step in range(8)] == [learning_rate(spec, step, 8) for step in range(8)]
    assert not rate_at(Optimizer(), 0, 8).frozen
    assert math.isclose(learning_rate(Optimizer(warmup=0, schedule="constant"), 3, 8), Optimizer().lr)


def test_an_objective_without_parts_of_its_own_cannot_be_trained_alone():
    spec, learner = made("triplet", freeze=0.5)
    with pytest.raises(ValueError, match=r"has no parts of its own to train.*set optimizer\.freeze=0"):
        make_optimizer(spec.optimizer, learner)


def test_the_average_of_the_weights_is_the_published_recursion():
    spec, learner = made(average=0.5)
    learner = Learner(learner.encoder, learner.objective, averaged=True)
    optimizer = make_optimizer(spec.optimizer, learner)
    assert not any(p.requires_grad for p in learner.average.parameters())
    updated = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert updated == {id(p) for part in (learner.encoder, learner.objective) for p in part.parameters()}
    due = {name: value.clone() for name, value in learner.encoder.state_dict().items()}
    for step in range(4):
        rate = rate_at(spec.optimizer, step, 4)
        assert rate.decay == min(0.5, (1 + step) / (10 + step))
        take_step(learner, optimizer, rate, batch_of(), spec, 32)
        learner.update_average(rate.decay)
        for name, value in learner.encoder.state_dict().items():
            counts = not value.is_floating_point()
            due[name] = value.clone() if counts else rate.decay * due[name] + (1 - rate.decay) * value
    found = learner.evaluated.encoder.state_dict()
    for name, value in due.items():
        torch.testing.assert_close(found[name], value)
    assert not torch.equal(found["network.features.0.0.weight"], learner.encoder.network.features[0][0].weight)


def test_without_an_average_the_learner_itself_is_evaluated():
    _, learner = made()
    assert learner.evaluated is learner
    assert not any(name.startswith("average") for name in learner.state_dict())
    learner.update_average(0.5)  # does nothing


@pytest.mark.parametrize(
    ("sides", "size", "due"),
    [
        ([1], 100, [100] * 4),
        ([0.5, 1], 128, [64, 64, 128, 128]),
        ([0.5, 0.6, 0.7, 1], 128, [64, 80, 96, 128]),
        ([0.75], 128, [96] * 4),
        ([0.01], 128, [16] * 4),
        ([0.99], 50, [48] * 4),
    ],
)
def test_images_have_the_side_of_their_part_of_the_run(sides, size, due):
    spec = parse(Train, {"encoder": {"size": size}, "sides": sides})
    assert [side_at(spec, step, 4) for step in range(4)] == due
    assert side_at(spec, 4.0, 4) == due[-1]


def test_the_network_sees_images_of_the_given_side():
    spec, learner = made()
    seen = []
    learner.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0].shape[-2:]))
    take_step(learner, make_optimizer(spec.optimizer, learner), Rate(1e-2), batch_of(), spec, 16)
    assert seen == [(16, 16)]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"objective": {"name": "autoencoder"}, "sides": [0.5, 1]}, "autoencoder draws images of one side"),
        (
            {"objective": {"name": "distil", "teacher": "x", "beside": {"name": "autoencoder"}}, "sides": [0.5, 1]},
            "distil draws images of one side",
        ),
        ({"encoder": {"arch": "vit_small", "size": 224}, "sides": [0.5, 1]}, "vit_small is built for one side"),
        ({"sides": []}, "sides"),
        ({"sides": [1.5]}, "sides"),
        ({"sides": [0]}, "sides"),
    ],
)
def test_sides_that_cannot_be_trained_are_refused(tree, message):
    with pytest.raises(ConfigError, match=message):
        parse(Train, tree)

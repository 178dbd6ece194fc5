import pytest
import torch
from torch import nn

from herbray.benchmark.contests.network_size import measure_network
from herbray.config import parse
from herbray.flow.training.specification import Train
from herbray.model.encoder import EncoderSpec, build_encoder


def spec(size, objective="triplet"):
    encoder = {"arch": "mobilenet_v3_small", "size": size, "init": "imagenet"}
    return parse(Train, {"encoder": encoder, "objective": {"name": objective}})


def test_parameters_are_counted_and_activations_grow_with_pixels():
    small, large = measure_network(spec(32), 10), measure_network(spec(64), 10)
    network: nn.Module = build_encoder(EncoderSpec(arch="mobilenet_v3_small", size=32), 0)
    assert small.parameters == large.parameters == sum(each.numel() for each in network.parameters())
    assert small.dim == 576
    assert 3 < large.activation_bytes / small.activation_bytes < 4.5
    few, many = (measure_network(spec(32, "classifier"), classes) for classes in (2, 1000))
    assert many.parameters > few.parameters > small.parameters


def test_activations_are_those_that_a_layer_keeps(monkeypatch):
    class Learner(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Flatten()
            self.encoder.dim = 7
            self.layer = nn.Linear(3 * 32 * 32, 7)

        def forward(self, images, labels):
            return {"loss": torch.relu(self.layer(self.encoder(images))).sum()}

    monkeypatch.setattr("herbray.benchmark.contests.network_size.build_learner", lambda *given: Learner())
    found = measure_network.__wrapped__(spec(32), 2)
    assert found.parameters == 7 * 3072 + 7
    assert found.activation_bytes == pytest.approx(4 * (3072 + 7))  # the layer's input, and relu's result

import numpy as np
import pytest
import torch
from torch import nn

from herbray.model.objectives.classifier import Classifier


def test_head_has_the_published_layers():
    layers = Classifier().build(512, 64, 700).layers
    kinds = [type(layer) for layer in layers]
    assert kinds == [nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert [layers[1].p, layers[5].p] == [0.25, 0.5]
    assert sum(p.numel() for p in layers.parameters()) == 1024 + 512 * 512 + 1024 + 512 * 700


def test_loss_and_accuracy_equal_the_formula():
    torch.manual_seed(0)
    head = Classifier(hidden=16).build(8, 64, 5).eval()
    features, labels = torch.randn(30, 8), torch.randint(-1, 5, (30,))
    first, last = (head.layers[i].weight.detach().double().numpy() for i in (2, 6))
    scale = 1 / np.sqrt(1 + 1e-5)  # batch norm at its start
    logits = np.maximum(features.double().numpy() * scale @ first.T, 0) * scale @ last.T
    known = [row for row in range(30) if labels[row] >= 0]
    due = np.mean([np.log(np.exp(logits[row]).sum()) - logits[row, labels[row]] for row in known])
    found = head(features, torch.empty(0), labels)
    assert len(known) < 30
    assert found["loss"].item() == pytest.approx(due, rel=1e-5)
    assert found["accuracy"].item() == pytest.approx(np.mean([logits[row].argmax() == labels[row] for row in known]))


def test_one_genus_cannot_be_classified():
    with pytest.raises(ValueError, match="needs at least two labels"):
        Classifier().build(512, 64, 1)

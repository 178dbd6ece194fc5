import math

import pytest
import torch

from herbray.model.objectives.arcface import Arcface


def build(classes=4, dim=6, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Arcface(**settings).build(dim, 32, classes)


@pytest.mark.parametrize("centres", [1, 3])
def test_loss_is_that_of_pytorch_metric_learning(centres):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    head = build(centres=centres, margin=0.3, scale=16.0)
    peer = losses.SubCenterArcFaceLoss(4, 6, margin=math.degrees(0.3), scale=16, sub_centers=centres)
    with torch.no_grad():  # theirs: [d, classes · centres], the centres of a class side by side
        peer.W.copy_(head.centres.detach().reshape(4 * centres, 6).T)
    features = torch.randn(12, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(12) % 4
    torch.testing.assert_close(
        head(features, torch.empty(0), labels)["loss"], peer(features, labels), rtol=1e-4, atol=1e-5
    )


def test_the_cosine_falls_beyond_the_margin_too():
    head = build(classes=2, dim=3, centres=1, margin=0.5, scale=1.0)
    with torch.no_grad():
        head.centres.copy_(torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]]))
    angles = torch.linspace(0.01, math.pi - 0.01, 50)
    losses = [
        head(torch.tensor([[math.cos(a), math.sin(a), 0.0]]), torch.empty(0), torch.tensor([0]))["loss"].item()
        for a in angles.tolist()
    ]
    assert losses == sorted(losses)


def test_rows_of_unknown_name_do_not_matter():
    head, features = build(), torch.randn(6, 6)
    labels = torch.tensor([0, 1, 2, -1, -1, 3])
    known = labels >= 0
    some = head(features, torch.empty(0), labels)
    torch.testing.assert_close(some["loss"], head(features[known], torch.empty(0), labels[known])["loss"])


def test_one_name_is_refused():
    with pytest.raises(ValueError, match="needs at least two"):
        build(classes=1)

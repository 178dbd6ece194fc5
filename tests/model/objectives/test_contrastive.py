import pytest
import torch

from herbray.model.objectives.contrastive import Contrastive

LABELS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])


def loss_of(features, labels, **settings):
    return (
        Contrastive(projection=0, **settings).build(features.shape[1], 32, 9).eval()(features, torch.empty(0), labels)
    )


def test_loss_is_that_of_pytorch_metric_learning():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    features = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    for temperature in (0.07, 0.1, 1.0):
        due = losses.SupConLoss(temperature=temperature)(features, LABELS)
        torch.testing.assert_close(loss_of(features, LABELS, temperature=temperature)["loss"], due)


def test_loss_by_hand():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = loss_of(features, torch.tensor([0, 0, 1]), temperature=1.0)
    assert found["loss"].item() == pytest.approx(torch.tensor([1.0, 0.0]).logsumexp(0).item() - 1)
    assert (found["near"].item(), found["far"].item()) == (1.0, 0.0)


def test_rows_of_unknown_name_do_not_matter():
    features = torch.randn(10, 6, generator=torch.Generator().manual_seed(1))
    with_unknown = loss_of(features, torch.cat([LABELS, torch.tensor([-1, -1])]))
    torch.testing.assert_close(with_unknown["loss"], loss_of(features[:8], LABELS)["loss"])


def test_a_batch_without_pairs_has_loss_zero_and_a_gradient():
    features = torch.randn(3, 4, requires_grad=True)
    for labels in (torch.tensor([0, 1, 2]), torch.tensor([-1, -1, -1])):
        loss = loss_of(features, labels)["loss"]
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, features)
        assert torch.equal(gradient, torch.zeros(3, 4))

import itertools

import numpy as np
import pytest
import torch

from herbray.model.objectives.triplet import Triplet, measure_distances, mine_triplets


def loss_of(mining, features, labels, margin=0.3, normalise=True):
    torch.manual_seed(0)
    objective = Triplet(mining=mining, margin=margin, normalise=normalise).build(features.shape[1], 32, 5)
    return objective(features, torch.empty(0), labels)


def metric(features, normalise):
    x = features.detach().double().numpy()
    if normalise:
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.array([[np.sqrt(((a - b) ** 2).sum()) for b in x] for a in x])


def plain(mining, d, labels, margin):
    """Each rule in loops, from its paper."""
    n = len(labels)
    positives = {a: [p for p in range(n) if p != a and labels[p] == labels[a]] for a in range(n)}
    negatives = {a: [q for q in range(n) if labels[q] != labels[a]] for a in range(n)}
    if mining == "all":
        hinges = [d[a, p] - d[a, q] + margin for a in range(n) for p in positives[a] for q in negatives[a]]
        active = [h for h in hinges if h > 0]
        return sum(active) / len(active)
    if mining == "hard":
        rows = [a for a in range(n) if positives[a]]
        return np.mean([max(0, max(d[a, positives[a]]) - min(d[a, negatives[a]]) + margin) for a in rows])
    hinges = []
    for a in range(n):
        for p in positives[a]:
            farther = [d[a, q] for q in negatives[a] if d[a, q] > d[a, p]]
            q = min(farther) if farther else max(d[a, negatives[a]])
            hinges.append(max(0, d[a, p] - q + margin))
    return np.mean(hinges)


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(4)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])  # genus 3 is alone
    return torch.randn(10, 6, generator=generator) + labels[:, None] * 0.2, labels


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("mining", ["all", "semi_hard", "hard"])
def test_loss_equals_the_formula_in_loops(rows, mining, normalise):
    features, labels = rows
    due = plain(mining, metric(features, normalise), labels.numpy(), 0.3)
    assert loss_of(mining, features, labels, normalise=normalise)["loss"].item() == pytest.approx(due, rel=1e-5)


def test_random_loss_is_the_mean_hinge_of_the_drawn_triplets(rows):
    features, labels = rows
    d = metric(features, False)
    torch.manual_seed(0)
    drawn = mine_triplets(features, labels, "random")
    hinges = [max(0, d[a, p] - d[a, q] + 1.0) for a, p, q in zip(*(i.tolist() for i in drawn[:3]), strict=True)]
    found = loss_of("random", features, labels, margin=1.0, normalise=False)
    assert found["loss"].item() == pytest.approx(np.mean(hinges), rel=1e-5)
    assert found["active"].item() == pytest.approx(np.mean([h > 0 for h in hinges]))


@pytest.mark.slow
def test_random_triplets_are_uniform_over_positives_and_over_genera():
    labels = torch.tensor([0] * 4 + [1] * 2 + [2] * 6)
    torch.manual_seed(0)
    draws = 6000
    picks = torch.stack([torch.stack(mine_triplets(torch.empty(12, 1), labels, "random")[1:3]) for _ in range(draws)])
    positives = picks[:, 0, 0].bincount(minlength=12) / draws
    torch.testing.assert_close(positives[1:4], torch.full((3,), 1 / 3), atol=0.03, rtol=0)
    assert positives[[0, *range(4, 12)]].sum() == 0
    negatives = picks[:, 1, 0].bincount(minlength=12) / draws  # genus 1 as often as genus 2, though smaller
    torch.testing.assert_close(negatives[4:6], torch.full((2,), 1 / 4), atol=0.03, rtol=0)
    torch.testing.assert_close(negatives[6:], torch.full((6,), 1 / 12), atol=0.03, rtol=0)
    joint = torch.stack([picks[:, 0, 0], picks[:, 0, 1]])  # two anchors draw independently
    both = ((joint[0] == 1) & (joint[1] == 2)).float().mean()
    assert abs(both - 1 / 9) < 0.02


def test_random_positive_is_itself_only_when_alone(rows):
    labels = rows[1]
    for seed in range(50):
        torch.manual_seed(seed)
        found = mine_triplets(rows[0], labels, "random")
        assert found.counts.all()
        assert (labels[found.positive] == labels).all()
        assert (labels[found.negative] != labels).all()
        assert (found.positive == found.anchor).nonzero().flatten().tolist() == [9]


def test_random_draws_follow_from_the_generator_and_change_with_it(rows):
    def draw(seed):
        torch.manual_seed(seed)
        return [mine_triplets(*rows, "random").negative.tolist() for _ in range(3)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert len({tuple(row) for row in draw(1)}) == 3


@pytest.mark.parametrize("mining", ["random", "all", "semi_hard", "hard"])
def test_rows_of_unknown_genus_are_in_no_triplet(rows, mining):
    features, labels = rows
    more = torch.cat([features, features[:3] * 0.9])
    unknown = torch.cat([labels, torch.full((3,), -1)])
    leaf = more.requires_grad_()
    loss_of(mining, leaf, unknown)["loss"].backward()
    assert not leaf.grad[10:].any()
    assert leaf.grad[:9].abs().sum(dim=1).gt(0).any()
    if mining != "random":
        found = loss_of(mining, more, unknown)["loss"]
        torch.testing.assert_close(found, loss_of(mining, features, labels)["loss"])


@pytest.mark.parametrize("mining", ["random", "all", "semi_hard", "hard"])
@pytest.mark.parametrize("normalise", [True, False])
def test_collapsed_features_have_a_finite_gradient(mining, normalise):
    for features in (torch.ones(8, 4), torch.zeros(8, 4), torch.ones(8, 4) + 1e-7 * torch.randn(8, 4)):
        leaf = features.requires_grad_()
        loss = loss_of(mining, leaf, torch.arange(8) // 2, normalise=normalise)["loss"]
        assert loss.item() == pytest.approx(0.3, abs=1e-4)
        loss.backward()
        assert leaf.grad.isfinite().all()
        assert leaf.grad.abs().max() < 10


@pytest.mark.parametrize("mining", ["random", "all", "semi_hard", "hard"])
def test_gradient_is_that_of_finite_differences(rows, mining):
    features, labels = rows
    leaf = features.clone().requires_grad_()
    loss_of(mining, leaf, labels)["loss"].backward()
    for i, j in itertools.product((0, 4, 7), (0, 3)):
        ends = []
        for move in (-1e-3, 1e-3):
            moved = features.clone()
            moved[i, j] += move
            ends.append(loss_of(mining, moved, labels)["loss"].item())
        assert leaf.grad[i, j].item() == pytest.approx((ends[1] - ends[0]) / 2e-3, abs=2e-3)


def test_figures_are_the_mean_distances(rows):
    features, labels = rows
    d = metric(features, True)
    same = (labels[:, None] == labels) & ~torch.eye(10, dtype=torch.bool)
    weights = same.sum(1)[:, None] * (labels[:, None] != labels)  # a negative counts once for each positive
    found = loss_of("all", features, labels)
    pairs = [d[a, p] * (labels != labels[a]).sum().item() for a, p in same.nonzero().tolist()]
    assert found["near"].item() == pytest.approx(sum(pairs) / weights.sum().item(), rel=1e-5)
    assert found["far"].item() == pytest.approx((d * weights.numpy()).sum() / weights.sum().item(), rel=1e-5)


def test_distances_are_euclidean_also_of_long_and_of_equal_rows():
    x = torch.randn(20, 512) * 30
    x[7] = x[3]
    found = measure_distances(x)
    assert found[3, 7] == 0
    torch.testing.assert_close(
        found, torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"), rtol=1e-4, atol=0.1
    )

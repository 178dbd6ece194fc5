import torch

from herbray.model.objectives.simsiam import Simsiam


def made(dim=8):
    torch.manual_seed(1)
    return Simsiam(projection=16, bottleneck=4).build(dim, 32, 3)


def test_the_loss_is_the_published_one_on_two_views():
    objective, features = made(), torch.randn(12, 8)
    points = objective.projection(features)
    guesses = objective.prediction(points)
    first, second = points[0::2].detach(), points[1::2].detach()
    cosine = torch.nn.CosineSimilarity(dim=1)
    due = -0.5 * (cosine(guesses[0::2], second).mean() + cosine(guesses[1::2], first).mean())
    found = objective(features, torch.empty(0), torch.full((12,), -1))
    torch.testing.assert_close(found["loss"].detach(), 1 + due.detach())


def test_no_gradient_flows_into_the_predicted_view():
    objective, features = made(), torch.randn(12, 8, requires_grad=True)
    objective.prediction.requires_grad_(False)
    for layer in objective.prediction:
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.zeros_(layer.weight)  # the guess no longer depends on the view
    with torch.no_grad():
        objective.prediction[-1].bias.copy_(torch.ones(16))
    objective(features, torch.empty(0), torch.zeros(12))["loss"].backward()
    assert float(features.grad.abs().max()) == 0


def test_spread_is_one_for_all_directions_and_nothing_after_a_collapse():
    objective = made().eval()
    objective.projection = torch.nn.Identity()
    objective.prediction = torch.nn.Identity()
    wide = objective(torch.randn(4096, 64), torch.empty(0), torch.zeros(4096))
    assert abs(float(wide["spread"]) - 1) < 0.05
    assert float(wide["loss"]) < 1e-6
    assert float(objective(torch.ones(64, 64), torch.empty(0), torch.zeros(64))["spread"]) < 1e-6

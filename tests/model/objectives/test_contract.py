"""What every objective owes, whatever it computes."""

import pytest
import torch

from herbray.config import ConfigError, Spec, parse
from herbray.model.encoder import EncoderSpec, build_encoder
from herbray.model.learner import Learner
from herbray.model.objectives import OBJECTIVES, AnyObjective, DataFacts
from herbray.model.objectives.triplet import Triplet

pytestmark = pytest.mark.slow

SIZE = 32
MININGS = ("random", "all", "semi_hard", "hard")
CASES = [
    ("classifier", {}),
    ("autoencoder", {"width": 8}),
    ("contrastive", {}),
    ("contrastive", {"projection": 0, "group": 2}),
    ("arcface", {}),
    ("arcface", {"centres": 1}),
    *(("triplet", {"mining": name, "margin": 0.5}) for name in MININGS),
    ("triplet", {"mining": "published", "margin": 0.5, "group": 2, "rivals": 2}),
    ("hierarchical", {}),
    ("simsiam", {}),
    ("distil", {}),
    ("distil", {"beside": Triplet()}),
]


class Job(Spec):
    objective: AnyObjective


def batch(n=16, genera=4):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) * genera // n
    colours = torch.rand(genera, 3, 1, 1, generator=generator)[labels]
    return (colours + 0.1 * torch.rand(n, 3, SIZE, SIZE, generator=generator)).clamp(0, 1), labels


class TaughtLearner(Learner):
    """A learner with a teacher whose embeddings are the mean colours."""

    def forward(self, images, labels):
        return super().forward(images, labels, images.mean(dim=(2, 3)) - 0.5)


def learner(name, settings, genera=4):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        facts = DataFacts(torch.arange(genera).expand(2, -1).T, teacher_dim=3)
        objective = OBJECTIVES[name](**settings).build(512, SIZE, genera, facts)
    kind = TaughtLearner if name == "distil" else Learner
    return kind(build_encoder(EncoderSpec(size=SIZE), 0), objective)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        yield


def test_every_objective_is_tried_here():
    assert {name for name, _ in CASES} == OBJECTIVES.keys()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_name_chooses_the_objective_in_a_configuration(name):
    assert parse(Job, {"objective": {"name": name}}).objective == OBJECTIVES[name]()
    with pytest.raises(ConfigError, match=r"objective.*marginn"):
        parse(Job, {"objective": {"name": name, "marginn": 1}})


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_loss_has_a_finite_gradient_in_every_parameter(name, settings):
    model = learner(name, settings)
    out = model(*batch())
    assert out["loss"].shape == ()
    assert all(value.shape == () and not value.requires_grad for key, value in out.items() if key != "loss")
    out["loss"].backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    assert sum(p.grad.abs().sum() for p in model.encoder.parameters()) > 0


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_ten_steps_on_one_batch_lower_the_loss(name, settings):
    model = learner(name, settings)
    images, labels = batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def look():
        torch.manual_seed(3)
        with torch.no_grad():
            return model(images, labels)["loss"].item()

    before = look()
    for _ in range(10):
        optimizer.zero_grad()
        torch.manual_seed(3)  # the same dropout and the same triplets: the loss is one function
        model(images, labels)["loss"].backward()
        optimizer.step()
    assert look() < 0.9 * before


@pytest.mark.parametrize(("name", "settings"), CASES)
@pytest.mark.parametrize(
    "labels", [[0] * 4, [0, 1, 2, 3], [-1] * 4, [0, 0, -1, -1]], ids=["one", "all", "none", "half"]
)
def test_odd_batches_keep_a_finite_loss_and_the_graph(name, settings, labels):
    model = learner(name, settings)
    loss = model(batch(4)[0], torch.tensor(labels))["loss"]
    assert loss.isfinite()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_figures_have_the_same_names_in_training_and_evaluation_and_without_triplets(name, settings):
    model = learner(name, settings)
    images, labels = batch(8)
    names = model(images, labels).keys()
    model.eval()
    assert model(images, labels).keys() == names
    assert model(images, torch.zeros_like(labels)).keys() == names


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_half_precision_features_give_a_full_precision_loss(name, settings):
    model = learner(name, settings).eval()
    images, labels = batch()
    torch.manual_seed(3)
    due = model(images, labels)["loss"]
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(images, labels)["loss"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, due, rtol=0.2, atol=0.05)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_settings_give_a_batch_shape(name):
    spec = OBJECTIVES[name]()
    assert spec.name == name
    shapes = {"triplet": (4, 1), "contrastive": (4, 1), "simsiam": (1, 2)}
    assert (spec.group, spec.views) == shapes.get(name, (1, 1))
    with pytest.raises(ConfigError, match="group"):
        parse(OBJECTIVES[name], {"group": 0})

import math

import pytest
import torch

from herbray.model.objectives import DataFacts
from herbray.model.objectives.hierarchical import Hierarchical

LINEAGE = torch.tensor(
    [  # family, genus, species
        [0, 0, 0],  # Fagaceae, Quercus, Q. robur
        [0, 0, 1],  # Q. petraea
        [0, 1, 2],  # Fagus sylvatica
        [1, 2, 3],  # Rosaceae, Rosa canina
        [0, 0, -1],  # Quercus, not named to species
        [1, 3, -1],  # Rubus: no sheet of the genus is named to species
        [1, -1, -1],  # Rosaceae, not named to genus
    ]
)
LEAVES = [0, 1, 2, 3, 5]


def made(**settings):
    torch.manual_seed(3)
    return Hierarchical(hidden=16, **settings).build(8, 32, len(LINEAGE), DataFacts(LINEAGE)).eval()


def published(logits, label, decay):
    """The definition of Bertinetto et al. 2020, one edge of the tree after the other."""
    chances = [math.exp(x) for x in logits]
    chance = {leaf: c / sum(chances) for leaf, c in zip(LEAVES, chances, strict=True)}
    names = [name for name in enumerate(LINEAGE[label].tolist()) if name[1] >= 0]
    loss, above = 0.0, 1.0
    for rank, name in names:
        here = sum(c for leaf, c in chance.items() if LINEAGE[leaf, rank] == name)
        loss -= math.exp(-decay * (LINEAGE.shape[1] - 1 - rank)) * math.log(here / above)
        above = here
    return loss


@pytest.mark.parametrize("decay", [0.0, 0.1, 0.6])
def test_the_loss_is_the_published_one_at_every_depth_of_a_name(decay):
    head, features = made(decay=decay), torch.randn(7, 8)
    labels = torch.arange(7)
    logits = head.layers(features).tolist()
    due = [published(row, label, decay) for row, label in zip(logits, labels.tolist(), strict=True)]
    for row in range(7):
        found = head(features[row : row + 1], torch.empty(0), labels[row : row + 1])["loss"]
        assert math.isclose(float(found.detach()), due[row], rel_tol=1e-5)
    assert math.isclose(float(head(features, torch.empty(0), labels)["loss"].detach()), sum(due) / 7, rel_tol=1e-5)


def test_without_decay_the_loss_of_species_is_cross_entropy():
    head, features, labels = made(decay=0), torch.randn(4, 8), torch.tensor([0, 1, 2, 3])
    due = torch.nn.functional.cross_entropy(head.layers(features), labels)
    torch.testing.assert_close(head(features, torch.empty(0), labels)["loss"], due)


def test_accuracy_is_that_of_the_finest_name_of_each_row():
    head, features = made(), torch.randn(64, 8)
    predicted = [LEAVES[leaf] for leaf in head.layers(features).argmax(dim=1).tolist()]
    for label in range(len(LINEAGE)):
        rank = int((LINEAGE[label] >= 0).nonzero()[-1])
        due = sum(bool(LINEAGE[leaf, rank] == LINEAGE[label, rank]) for leaf in predicted) / 64
        found = head(features, torch.empty(0), torch.full((64,), label))["accuracy"]
        assert math.isclose(float(found.detach()), due, abs_tol=1e-6)


def test_rows_of_unknown_names_do_not_count():
    head, features = made(), torch.randn(3, 8)
    some = head(features[:2], torch.empty(0), torch.tensor([0, 6]))
    all_rows = head(features, torch.empty(0), torch.tensor([0, 6, -1]))
    torch.testing.assert_close(all_rows, some)
    nothing = head(features, torch.empty(0), torch.tensor([-1, -1, -1]))
    assert float(nothing["loss"].detach()) == 0


def test_gradients_are_finite_whatever_is_unnamed():
    head = made().train()
    features = torch.randn(8, 8, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 6, -1])
    head(features, torch.empty(0), labels)["loss"].backward()
    assert torch.isfinite(features.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_names_without_a_lineage_are_refused():
    with pytest.raises(ValueError, match="hierarchical needs the lineage"):
        Hierarchical().build(8, 32, 3)

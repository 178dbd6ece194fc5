import pytest
import torch

from herbray.config import ConfigError, parse
from herbray.model.objectives import DataFacts
from herbray.model.objectives.classifier import Classifier
from herbray.model.objectives.distil import Distil

FACTS = DataFacts(teacher_dim=6)
FEATURES, TARGETS, LABELS = torch.randn(5, 8), 7 * torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])


def made(**settings):
    torch.manual_seed(1)
    return Distil(**settings).build(8, 32, 3, FACTS).eval()


def test_the_loss_is_the_cosine_loss_of_torch_and_ignores_length():
    objective = made()
    with torch.no_grad():
        due = torch.nn.CosineEmbeddingLoss()(objective.head(FEATURES), TARGETS, torch.ones(5))
        for targets in (TARGETS, 0.1 * TARGETS):
            found = objective(FEATURES, torch.empty(0), LABELS, targets)
            torch.testing.assert_close(found["loss"], due)
            torch.testing.assert_close(found["distance"], due)


def test_beside_another_objective_the_losses_are_weighted():
    objective = made(beside=Classifier(hidden=16), share=0.3)
    with torch.no_grad():
        alone = objective.beside(FEATURES, torch.empty(0), LABELS)
        found = objective(FEATURES, torch.empty(0), LABELS, TARGETS)
        torch.testing.assert_close(found["loss"], 0.3 * found["distance"] + 0.7 * alone["loss"])
        torch.testing.assert_close(found["accuracy"], alone["accuracy"])


def test_batches_have_the_shape_that_the_other_objective_requests():
    spec = parse(Distil, {"teacher": "t", "beside": {"name": "triplet", "group": 8}})
    assert (spec.group, spec.views, spec.rivals) == (8, 1, 0)
    assert parse(Distil, spec.model_dump()) == spec
    with pytest.raises(ConfigError, match="both objectives see the same batches"):
        parse(Distil, {"teacher": "t", "group": 2, "beside": {"name": "triplet", "group": 8}})


def test_without_a_teacher_the_message_says_how_to_make_one():
    with pytest.raises(ValueError, match=r"herbray embed.*splits=\[train, validation\].*objective\.teacher"):
        _ = Distil().teacher_folder
    with pytest.raises(ValueError, match="needs the teacher's embeddings"):
        made()(FEATURES, torch.empty(0), LABELS)

"""How large a network is: its parameters, and the memory that one image takes in a training step."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch

from herbray.flow.training.specification import Train
from herbray.flow.training.worker.loop import build_learner

_ROWS: Final = 8  # of the batch that is counted


@dataclass(frozen=True)
class NetworkSize:
    """Counts of a learner.

    Attributes:
        parameters: of encoder and objective.
        dim: length of an embedding.
        activation_bytes: kept for the backward pass, per image in float32; about half of it in bfloat16.
    """

    parameters: int
    dim: int
    activation_bytes: float


@lru_cache(8)
def measure_network(spec: Train, classes: int) -> NetworkSize:
    """Build the learner of a training with random weights, and count what a forward pass of a few images keeps.

    Args:
        spec: of the training.
        classes: names that it learns.
    """
    random = spec.encoder.model_copy(update={"init": "random"})
    learner = build_learner(spec.model_copy(update={"encoder": random}), classes, None)
    rows = max(_ROWS, 2 * spec.objective.group)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {each.untyped_storage().data_ptr() for each in learner.parameters()}
    images = torch.rand(rows, 3, spec.encoder.size, spec.encoder.size)
    labels = torch.arange(rows) // spec.objective.group % classes
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        learner(images, labels)["loss"]
    activations = sum(size for place, size in kept.items() if place not in own)
    return NetworkSize(sum(each.numel() for each in learner.parameters()), learner.encoder.dim, activations / rows)

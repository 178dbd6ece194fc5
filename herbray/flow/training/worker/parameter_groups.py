"""Parameter groups of the optimizer: which parameters decay, and each one's share of the learning rate."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from herbray.flow.training.specification import Optimizer
from herbray.model.learner import Learner


def group_parameters(spec: Optimizer, learner: Learner) -> list[dict[str, Any]]:
    """Group the parameters. Norms and biases (one dimension) have no weight decay.

    With `layer_decay`, each block of the encoder has its own groups, whose `scale` is the share of the learning rate:
    1 for the objective's own parts, `layer_decay` for the last block, and one more factor for each block before it
    (Clark et al. 2020). With `freeze`, the groups of the encoder are marked.

    Raises:
        ValueError: `freeze` is set, but the objective has no parameters.
    """
    if spec.freeze and not any(True for _ in learner.objective.parameters()):
        raise ValueError(
            "this objective (such as triplet) has no parts of its own to train while the encoder is frozen: "
            "set optimizer.freeze=0"
        )
    groups: list[dict[str, Any]] = []
    blocks = [*_iter_blocks(learner.encoder.network)] if spec.layer_decay < 1 else [learner.encoder]
    parts = [(block, spec.layer_decay ** (len(blocks) - place)) for place, block in enumerate(blocks)]
    if spec.layer_decay == 1 and not spec.freeze:  # one group of each kind, as in checkpoints of earlier versions
        parts = [(learner, 1.0)]
    else:
        parts.append((learner.objective, 1.0))
    for part, scale in parts:
        parameters = [p for p in part.parameters() if p.requires_grad]
        marks: dict[str, Any] = {"scale": scale} if len(parts) > 1 else {}
        marks |= {"encoder": part is not learner.objective} if spec.freeze else {}
        for decay, chosen in (
            (spec.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if chosen or len(parts) == 1:
                groups.append({"params": chosen, "weight_decay": decay, **marks})
    return groups


def _iter_blocks(network: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a network in the order of its parameters: its members, and the members of sequences among them."""
    for child in network.children():
        members = [*child.children()] if isinstance(child, nn.Sequential | nn.ModuleList) else [child]
        for member in members:
            if any(True for _ in member.parameters()):
                yield member

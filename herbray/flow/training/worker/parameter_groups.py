"""Parameter groups of the optimizer: which parameters decay, and each one's share of the learning rate."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from herbray.flow.training.specification import Optimizer
from herbray.model.learner import Learner

_Parameters = list[nn.Parameter]


def group_parameters(spec: Optimizer, learner: Learner) -> list[dict[str, Any]]:
    """Group the parameters. Norms and biases (one dimension) have no weight decay.

    With `layer_decay`, each block of the encoder has its own groups, whose `scale` is the share of the learning rate:
    1 for the objective's own parts, `layer_decay` for the last block, and one more factor for each block before it
    (Clark et al. 2020). With `freeze`, the groups of the encoder are marked.

    Raises:
        ValueError: `freeze` is set, but the objective has no parameters.
    """
    if spec.layer_decay == 1 and not spec.freeze:
        return _split_by_decay([*learner.parameters()], spec.weight_decay, {})
    own = [*learner.objective.parameters()]
    if spec.freeze and not own:
        raise ValueError(
            "this objective (such as triplet) has no parts of its own to train while the encoder is frozen: "
            "set optimizer.freeze=0"
        )
    network = learner.encoder.network
    blocks = [*_iter_blocks(network)] if spec.layer_decay < 1 else [[*network.parameters()]]
    groups: list[dict[str, Any]] = []
    for place, block in enumerate(blocks):
        scale = spec.layer_decay ** (len(blocks) - place)
        groups += _split_by_decay(block, spec.weight_decay, {"scale": scale, "encoder": True})
    groups += _split_by_decay(own, spec.weight_decay, {"scale": 1.0, "encoder": False})
    return [group for group in groups if group["params"]]


def _split_by_decay(parameters: _Parameters, decay: float, marks: dict[str, Any]) -> list[dict[str, Any]]:
    trained = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": decay, **marks},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, **marks},
    ]


def _iter_blocks(module: nn.Module) -> Iterator[_Parameters]:
    """The blocks of a network, from its first layer: together, they hold every parameter once.

    Parameters that belong to no member (a transformer's positions) come first. A list of composed members gives one
    block for each member. A member that holds such a list is opened; any other member is one block.
    """
    if direct := [*module.parameters(recurse=False)]:
        yield direct
    for child in module.children():
        if _is_list_of_blocks(child):
            yield from ([*member.parameters()] for member in child.children() if _has_parameters(member))
        elif any(_is_list_of_blocks(part) for part in child.modules()):
            yield from _iter_blocks(child)
        elif _has_parameters(child):
            yield [*child.parameters()]


def _is_list_of_blocks(module: nn.Module) -> bool:
    """Whether the module is a sequence of which a member has members of its own: not just a convolution and a norm."""
    is_list = isinstance(module, nn.Sequential | nn.ModuleList)
    return is_list and any(True for member in module.children() for _ in member.children())


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())

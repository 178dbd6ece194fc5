"""Residual networks (He et al. 2016), as torchvision builds them. The study's encoder is a ResNet-18."""

import functools
import re
from typing import Final

from torch import nn

from .base import Architecture, Published

_CHILDREN: Final = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def _build(name: str, stem: str, size: int) -> nn.Module:
    """Build a network. `standard`: 7×7 convolution of stride 2, max-pool; `cifar`: 3×3 of stride 1, no pool."""
    import torchvision  # imported here: it loads torch's compiler, which takes 1.5 s

    del size
    network: nn.Module = getattr(torchvision.models, name)(weights=None)
    network.fc = nn.Identity()
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")  # as the other convolutions
        network.maxpool = nn.Identity()
    return network


def _name_of_child(name: str) -> str:
    """`4.0.conv1.weight` → `layer1.0.conv1.weight`: a `Sequential` of the network's children, as lightly saves it."""
    found = re.match(r"(\d+)\.(?=.)", name)
    child = _CHILDREN.get(found[1]) if found else None
    return f"{child}.{name[found.end() :]}" if found and child else name


def _describe(depth: int, dim: int, digits: str, weights: str, convolutions: int) -> Architecture:
    return Architecture(
        name=f"resnet{depth}",
        title=f"ResNet-{depth}",
        dim=dim,
        build=functools.partial(_build, f"resnet{depth}"),
        stems=("standard", "cifar"),
        published=Published(f"resnet{depth}-{digits}.pth", weights=f"ResNet{depth}_Weights.{weights}"),
        layouts=(_name_of_child,),
        folded=(*((f"conv{number}", f"bn{number}") for number in range(1, convolutions + 1)), ("0", "1")),
        dense=True,
    )


RESNET18: Final = _describe(18, 512, "f37072fd", "IMAGENET1K_V1", convolutions=2)
RESNET50: Final = _describe(50, 2048, "11ad3fa6", "IMAGENET1K_V2", convolutions=3)

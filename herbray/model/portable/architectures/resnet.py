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


RESNET18: Final = Architecture(
    name="resnet18",
    title="ResNet-18",
    dim=512,
    build=functools.partial(_build, "resnet18"),
    stems=("standard", "cifar"),
    published=Published("resnet18-f37072fd.pth", weights="ResNet18_Weights.IMAGENET1K_V1"),
    layouts=(_name_of_child,),
    folded=(("conv1", "bn1"), ("conv2", "bn2"), ("0", "1")),
    dense=True,
)

RESNET50: Final = Architecture(
    name="resnet50",
    title="ResNet-50",
    dim=2048,
    build=functools.partial(_build, "resnet50"),
    stems=("standard", "cifar"),
    published=Published("resnet50-11ad3fa6.pth", weights="ResNet50_Weights.IMAGENET1K_V2"),
    layouts=(_name_of_child,),
    folded=(("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1")),
    dense=True,
)

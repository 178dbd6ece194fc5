"""MobileNetV3 small (Howard et al. 2019), as torchvision builds it: a fifth of a ResNet-18's weights."""

from typing import Final

from torch import nn

from .base import Architecture, Published


def _build(stem: str, size: int) -> nn.Module:
    import torchvision  # imported here: it loads torch's compiler, which takes 1.5 s

    del stem, size
    network: nn.Module = torchvision.models.mobilenet_v3_small(weights=None)
    network.classifier = nn.Identity()
    return network


MOBILENET_V3_SMALL: Final = Architecture(
    name="mobilenet_v3_small",
    title="MobileNetV3 small",
    dim=576,
    build=_build,
    published=Published("mobilenet_v3_small-047dcff4.pth", weights="MobileNet_V3_Small_Weights.IMAGENET1K_V1"),
    folded=(("0", "1"),),
)

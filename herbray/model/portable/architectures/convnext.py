"""ConvNeXt tiny (Liu et al. 2022), as torchvision builds it."""

from typing import Final

from torch import nn

from .base import Architecture, Published


def _build(stem: str, size: int) -> nn.Module:
    import torchvision  # imported here: it loads torch's compiler, which takes 1.5 s

    del stem, size
    network = torchvision.models.convnext_tiny(weights=None)
    norm, flatten, _ = network.classifier.children()
    network.classifier = nn.Sequential(norm, flatten)  # the norm follows the pool, and belongs to the features
    made: nn.Module = network
    return made


CONVNEXT_TINY: Final = Architecture(
    name="convnext_tiny",
    title="ConvNeXt tiny",
    dim=768,
    build=_build,
    step=32,
    published=Published("convnext_tiny-983f1562.pth", weights="ConvNeXt_Tiny_Weights.IMAGENET1K_V1"),
)

"""The architectures. A new one is a file here and a line in `ARCHITECTURES`; a library is a line in `LIBRARIES`."""

import difflib
from collections.abc import Callable, Mapping
from typing import Final

from ..refusal import EncoderRefused
from . import convnext, efficientnet_lite, mobilenet, open_clip_library, resnet, timm_library, vit
from .base import Architecture, Published

__all__ = ["ARCHITECTURES", "DEFAULT_ARCHITECTURE", "LIBRARIES", "Architecture", "Published", "find_architecture"]

ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    each.name: each
    for each in (
        resnet.RESNET18,
        resnet.RESNET50,
        efficientnet_lite.LITE0,
        efficientnet_lite.LITE1,
        efficientnet_lite.LITE2,
        mobilenet.MOBILENET_V3_SMALL,
        convnext.CONVNEXT_TINY,
        vit.VIT_SMALL,
    )
}
"""By name."""

LIBRARIES: Final[Mapping[str, Callable[[str], Architecture]]] = {
    "timm": timm_library.describe,
    "open_clip": open_clip_library.describe,
}
"""By prefix: `timm:NAME` is the model NAME of the library timm."""

DEFAULT_ARCHITECTURE: Final = "resnet18"
"""The study's."""


def find_architecture(name: str) -> Architecture:
    """Look up an architecture.

    Args:
        name: of `ARCHITECTURES`, or of a model in a library, such as `timm:vit_tiny_patch16_224`.

    Raises:
        EncoderRefused: there is no such architecture, or the library that has it is not installed.
    """
    library, _, model = name.partition(":")
    if model and library in LIBRARIES:
        return LIBRARIES[library](model)
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, 1)
        hint = f", perhaps {near[0]}" if near else ""
        raise EncoderRefused(
            f"arch={name!r} is unknown{hint}: choose from {', '.join(ARCHITECTURES)}, or timm:NAME or open_clip:NAME"
        )
    return ARCHITECTURES[name]

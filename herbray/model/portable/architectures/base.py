"""Description of an architecture: how to build its network, and the facts that the rest of herbray needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from ..refusal import EncoderRefused

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet, RGB in [0, 1]."""

Rename = Callable[[str], str]
"""Name of a tensor in a file → its name in the network; other names are returned unchanged."""


@dataclass(frozen=True)
class Published:
    """Where published ImageNet weights are found.

    Attributes:
        file: name of the file; the digits before the dot are the first of its SHA-256.
        package: Python package that ships the file in its folder `models`; None: torchvision's cache.
        install: how to get the package.
        weights: torchvision's enumeration of the weights, which knows the address to download from.
    """

    file: str
    package: str | None = None
    install: str = ""
    weights: str = ""


@dataclass(frozen=True)
class Architecture:
    """A network up to its pooled features.

    Attributes:
        name: as in `encoder.arch`.
        title: as in a report.
        dim: length of a feature vector.
        build: arguments are the stem and the side of the input; gives a module with torch's default start weights:
            Float [n, 3, side, side] → Float [n, dim].
        mean: that published weights expect of their input, RGB in [0, 1].
        std: standard deviation, likewise.
        stems: first layers that can be chosen.
        step: the input side is a multiple of it, in pixels.
        published: the file of its ImageNet weights.
        fetch: gets them from a library that has no such file.
        layouts: names of tensors in the files of other libraries, beside the network's own names.
        resize: adapts the tensors of a file to another side of the input; None: they do not depend on it.
        folded: names of a convolution and the batch norm that follows it, adjacent members of one module.
        dense: made of dense convolutions, which on a CPU are faster in oneDNN's own memory layout.
        requires: Python packages of the network, beside torch and torchvision.
    """

    name: str
    title: str
    dim: int
    build: Callable[[str, int], nn.Module]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    stems: tuple[str, ...] = ("standard",)
    step: int = 1
    published: Published | None = None
    fetch: Callable[[], dict[str, Tensor]] | None = None
    layouts: tuple[Rename, ...] = ()
    resize: Callable[[Mapping[str, Tensor], int], dict[str, Tensor]] | None = None
    folded: tuple[tuple[str, str], ...] = ()
    dense: bool = False
    requires: tuple[str, ...] = ()

    def check(self, stem: str, size: int) -> None:
        """Refuse a stem or an input side that the network cannot have.

        Raises:
            EncoderRefused: the message names the setting to change.
        """
        if stem not in self.stems:
            known = ", ".join(self.stems)
            raise EncoderRefused(f"{self.name} has no stem {stem!r}: set encoder.stem to one of {known}")
        if size % self.step:
            near = max(self.step, round(size / self.step) * self.step)
            raise EncoderRefused(
                f"{self.name} needs a size that is a multiple of {self.step} px, not {size}: set encoder.size={near}"
            )

"""Encoders by specification: architecture, input and start weights."""

from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from herbray.config import Spec
from herbray.model.checkpoint import read_encoder
from herbray.model.portable import SIZES, Arch, Encoder, EncoderRefused
from herbray.model.published import IMAGENET_FILE, imagenet_path, read_imagenet

__all__ = ["IMAGENET_FILE", "Encoder", "EncoderSpec", "build_encoder", "imagenet_path"]


class EncoderSpec(Spec):
    """What the encoder is and where it starts.

    Walker et al. 2022 start the classifier and the triplet network from ImageNet and the autoencoder, with the
    `cifar` stem, from CIFAR-10; none of them normalises. Here each of the three is a setting of its own.
    """

    arch: Arch = Field(
        "resnet18", description="network: ResNet-18 (512 numbers an image) or EfficientNet-Lite0 (1,280)"
    )
    init: str = Field(
        "random",
        min_length=1,
        description="random, imagenet, a file of ImageNet weights, a folder with an encoder, or models:/NAME@ALIAS",
    )
    normalise: bool = Field(True, description="take off ImageNet's mean and deviation; false: pixels in [0, 1]")
    stem: Literal["standard", "cifar"] = Field("standard", description="cifar: 3×3 stride 1 and no max-pool")
    size: int = Field(256, ge=SIZES[0], le=SIZES[-1], description="input side in pixels")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.init == "imagenet" and self.stem != "standard":
            raise ValueError(
                f"init=imagenet has a standard stem, not {self.stem!r}: set encoder.stem=standard (an autoencoder "
                "takes either), or start it from init=random"
            )
        if self.arch != "resnet18" and self.stem != "standard":
            raise ValueError(f"{self.arch} has a standard stem, not {self.stem!r}: use stem=standard")
        return self


def build_encoder(spec: EncoderSpec, seed: int, weights: Path | None = None) -> Encoder:
    """Make an encoder with its start weights.

    Args:
        spec: of the encoder.
        seed: of random start weights; torch's global generators are left as they were.
        weights: where the start weights are: the folder that a `models:/` address was resolved to, or the file of the
            ImageNet weights. None: `spec.init` itself is the folder or file, or `imagenet_path` tells.

    Returns:
        The encoder, on the CPU, in training mode.

    Raises:
        EncoderRefused: the start weights are absent, damaged, or of an encoder with another stem or normalisation.
    """
    if spec.init in ("random", "imagenet"):
        encoder = _random(spec, seed)
        if spec.init == "imagenet":
            _load_published(encoder, spec.arch, imagenet_path(spec.arch) if weights is None else weights)
        return encoder
    if weights is None and spec.init.startswith("models:/"):
        raise EncoderRefused(
            f"init={spec.init}: pull it first (`herbray.tracking.pull`) and give the folder as weights"
        )
    folder = Path(spec.init) if weights is None else weights
    if folder.is_file():
        encoder = _random(spec, seed)
        _load_published(encoder, spec.arch, folder)
        return encoder
    found, card = read_encoder(folder)
    for key in ("arch", "stem", "normalise"):
        if getattr(card, key) != getattr(spec, key):
            raise EncoderRefused(
                f"{folder}: trained with {key}={getattr(card, key)}, but encoder.{key}={getattr(spec, key)}: "
                f"set encoder.{key} to the former"
            )
    found.size = spec.size  # convolutions: the weights serve any size
    return found.train()


def _random(spec: EncoderSpec, seed: int) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed: that would seed the accelerators too
        return Encoder(spec.arch, spec.stem, spec.normalise, spec.size)


def _load_published(encoder: Encoder, arch: Arch, path: Path) -> None:
    if encoder.stem != "standard":
        raise EncoderRefused(
            f"{path}: ImageNet's weights have a standard stem, not {encoder.stem!r}: set encoder.stem=standard (an "
            "autoencoder takes either), or start it from init=random"
        )
    kept = read_imagenet(arch, path)
    counters = {n: t for n, t in encoder.network.state_dict().items() if n.endswith("num_batches_tracked")}
    try:
        encoder.network.load_state_dict(counters | kept, strict=True)  # torchvision's old file has no counters
    except RuntimeError as error:
        raise EncoderRefused(f"{path}: not the weights of a {arch} ({str(error).splitlines()[1].strip()})") from None

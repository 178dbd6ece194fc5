"""Build encoders from a specification: architecture, input and start weights."""

from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from herbray.config import Spec
from herbray.model.encoder_card import read_encoder
from herbray.model.imagenet_weights import IMAGENET_FILE, imagenet_path, read_imagenet
from herbray.model.portable import SIZES, Arch, Encoder, EncoderRefused

__all__ = ["IMAGENET_FILE", "Encoder", "EncoderSpec", "build_encoder", "imagenet_path"]


class EncoderSpec(Spec):
    """Architecture, input and start weights of an encoder.

    Walker et al. 2022 start the classifier and the triplet network from ImageNet, and the autoencoder, with the `cifar`
    stem, from CIFAR-10; none of the three normalises. Here start weights, stem and normalisation are separate settings.
    """

    arch: Arch = Field(
        "resnet18", description="network: ResNet-18 (512 numbers an image) or EfficientNet-Lite0 (1,280)"
    )
    init: str = Field(
        "random",
        min_length=1,
        description="random, imagenet, a file of ImageNet weights, a folder with an encoder, or models:/NAME@ALIAS",
    )
    normalise: bool = Field(True, description="normalise by ImageNet's mean and deviation; false: pixels in [0, 1]")
    stem: Literal["standard", "cifar"] = Field(
        "standard", description="cifar: 3×3 convolution of stride 1, without max-pool"
    )
    size: int = Field(256, ge=SIZES[0], le=SIZES[-1], description="input side in pixels")

    @model_validator(mode="after")
    def _check_stem(self) -> Self:
        if self.init == "imagenet" and self.stem != "standard":
            raise ValueError(
                f"init=imagenet needs a standard stem, not {self.stem!r}: set encoder.stem=standard (an autoencoder "
                "works with either stem), or encoder.init=random"
            )
        if self.arch != "resnet18" and self.stem != "standard":
            raise ValueError(f"{self.arch} needs a standard stem, not {self.stem!r}: set encoder.stem=standard")
        return self


def build_encoder(spec: EncoderSpec, seed: int, weights: Path | None = None) -> Encoder:
    """Build an encoder with its start weights.

    Args:
        spec: specification of the encoder.
        seed: seed of random start weights; torch's global generators are not changed.
        weights: location of the start weights: the folder that a `models:/` address was resolved to, or the file of
            the ImageNet weights. None: the folder or file that `spec.init` names, or `imagenet_path`.

    Returns:
        The encoder, on the CPU, in training mode.

    Raises:
        EncoderRefused: the start weights are missing, damaged, or of an encoder with another stem or normalisation.
    """
    if spec.init in ("random", "imagenet"):
        encoder = _build_random(spec, seed)
        if spec.init == "imagenet":
            _load_published(encoder, spec.arch, imagenet_path(spec.arch) if weights is None else weights)
        return encoder
    if weights is None and spec.init.startswith("models:/"):
        raise EncoderRefused(
            f"init={spec.init}: pull it first (`herbray.tracking.pull`) and give the folder as weights"
        )
    folder = Path(spec.init) if weights is None else weights
    if folder.is_file():
        encoder = _build_random(spec, seed)
        _load_published(encoder, spec.arch, folder)
        return encoder
    found, card = read_encoder(folder)
    for key in ("arch", "stem", "normalise"):
        if getattr(card, key) != getattr(spec, key):
            raise EncoderRefused(
                f"{folder}: trained with {key}={getattr(card, key)}, but encoder.{key}={getattr(spec, key)}: "
                f"set encoder.{key}={getattr(card, key)}"
            )
    found.size = spec.size  # convolutional weights work at any size
    return found.train()


def _build_random(spec: EncoderSpec, seed: int) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed: that would also seed the accelerators
        return Encoder(spec.arch, spec.stem, spec.normalise, spec.size)


def _load_published(encoder: Encoder, arch: Arch, path: Path) -> None:
    if encoder.stem != "standard":
        raise EncoderRefused(
            f"{path}: ImageNet's weights need a standard stem, not {encoder.stem!r}: set encoder.stem=standard (an "
            "autoencoder works with either stem), or encoder.init=random"
        )
    tensors = read_imagenet(arch, path)
    counters = {n: t for n, t in encoder.network.state_dict().items() if n.endswith("num_batches_tracked")}
    try:
        encoder.network.load_state_dict(counters | tensors, strict=True)  # torchvision's older file lacks the counters
    except RuntimeError as error:
        raise EncoderRefused(f"{path}: not the weights of {arch} ({str(error).splitlines()[1].strip()})") from None

"""Build encoders from a specification: architecture, input and start weights."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import nn

from herbray import storage
from herbray.config import Spec
from herbray.model.encoder_card import read_encoder
from herbray.model.portable import DEFAULT_ARCHITECTURE, SIZES, Encoder, EncoderRefused, find_architecture
from herbray.model.start_weights import load_file_of_weights, load_imagenet
from herbray.settings.root import PathOr

__all__ = ["START_WEIGHTS", "Encoder", "EncoderRefused", "EncoderSpec", "build_encoder"]

START_WEIGHTS: Final = PathOr(frozenset(("random", "imagenet", "pretraining")))
"""Mark on settings that name start weights: values that are no paths. A study resolves `pretraining`."""

_USUAL_MOMENTUM: Final = 0.1  # of batch norms: torch's default


class EncoderSpec(Spec):
    """Architecture, input and start weights of an encoder.

    Walker et al. 2022 start the classifier and the triplet network from ImageNet, and the autoencoder, with the `cifar`
    stem, from CIFAR-10; none of the three normalises. Here start weights, stem and normalisation are separate settings.
    """

    arch: str = Field(
        DEFAULT_ARCHITECTURE,
        description="network: a name of the table of architectures, timm:NAME for a model of timm, or open_clip:NAME",
    )
    init: Annotated[str, START_WEIGHTS] = Field(
        "random",
        min_length=1,
        description="random, imagenet, a file of weights of torchvision, timm, lightly or Lightning, a folder with an "
        "encoder, or models:/NAME@ALIAS",
    )
    normalise: bool = Field(
        True,
        description="normalise by the mean and deviation that the architecture's published weights expect; false: "
        "pixels in [0, 1]",
    )
    stem: Literal["standard", "cifar"] = Field(
        "standard", description="cifar: 3×3 convolution of stride 1, without max-pool"
    )
    size: int = Field(256, ge=SIZES[0], le=SIZES[-1], description="input side in pixels")

    @model_validator(mode="after")
    def _check_architecture(self) -> Self:
        if self.init == "imagenet" and self.stem != "standard":
            raise ValueError(
                f"init=imagenet needs a standard stem, not {self.stem!r}: set encoder.stem=standard (an autoencoder "
                "works with either stem), or encoder.init=random"
            )
        find_architecture(self.arch).check(self.stem, self.size)
        return self


def build_encoder(spec: EncoderSpec, seed: int, weights: Path | None = None) -> Encoder:
    """Build an encoder with its start weights.

    Args:
        spec: specification of the encoder.
        seed: seed of random start weights; torch's global generators are not changed.
        weights: location of the start weights: the folder that a `models:/` address was resolved to, or a file of
            weights. None: what `spec.init` names.

    Returns:
        The encoder, on the CPU, in training mode.

    Raises:
        EncoderRefused: the start weights are missing, damaged, or of an encoder with another architecture, stem or
            normalisation.
    """
    if spec.init == "random":
        return _quicken_norms(_build_random(spec, seed))
    if spec.init == "imagenet":
        encoder = _build_random(spec, seed)
        load_imagenet(encoder, weights)
        return encoder
    if weights is None and spec.init.startswith("models:/"):
        raise EncoderRefused(
            f"init={spec.init}: pull it first (`herbray.tracking.pull`) and give the folder as weights"
        )
    folder = storage.fetch_any(Path(spec.init) if weights is None else weights)
    if folder.is_file():
        if spec.stem != "standard":
            raise EncoderRefused(
                f"{folder}: published weights need a standard stem, not {spec.stem!r}: set encoder.stem=standard (an "
                "autoencoder works with either stem), or encoder.init=random"
            )
        encoder = _build_random(spec, seed)
        load_file_of_weights(encoder, folder)
        return encoder
    if not folder.exists():
        raise EncoderRefused(
            f"{folder}: no such file or folder: set encoder.init to random, imagenet, a file of weights, a folder with "
            "an encoder, or models:/NAME@ALIAS"
        )
    found, card = read_encoder(folder)
    for key in ("arch", "stem", "normalise"):
        if getattr(card, key) != getattr(spec, key):
            raise EncoderRefused(
                f"{folder}: trained with {key}={getattr(card, key)}, but encoder.{key}={getattr(spec, key)}: "
                f"set encoder.{key}={getattr(card, key)}"
            )
    return _at_size(found, spec.size).train()


def _build_random(spec: EncoderSpec, seed: int) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed: that would also seed the accelerators
        return Encoder(spec.arch, spec.stem, spec.normalise, spec.size)


def _quicken_norms(encoder: Encoder) -> Encoder:
    """Let batch norms that have seen no data follow their batches at least at torch's usual rate.

    Some architectures publish a tenth of it, for runs of 100,000 steps. In a run of 100 steps, the statistics of a
    random start would stay far behind its weights, and the encoder would be useless outside of training.
    """
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None:
            module.momentum = max(module.momentum, _USUAL_MOMENTUM)
    return encoder


def _at_size(encoder: Encoder, size: int) -> Encoder:
    """The encoder for another input side; the weights of a convolutional network work at any."""
    if encoder.architecture.resize is None or encoder.size == size:
        encoder.size = size
        return encoder
    made = Encoder(encoder.arch, encoder.stem, encoder.normalise, size)
    made.geometry = encoder.geometry
    made.network.load_state_dict(encoder.architecture.resize(encoder.network.state_dict(), size))
    return made

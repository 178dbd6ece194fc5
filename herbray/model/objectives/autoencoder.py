"""Reconstruction of the image through a bottleneck (Walker et al. 2022): a residual decoder and pixel mean squares."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from herbray.model.objectives.base import Objective, ObjectiveSpec

_SEED = 4  # side of the map that the latent vector opens into
_DOUBLINGS = 8  # what the stages then multiply it by


class Autoencoder(ObjectiveSpec):
    """Linear map to a latent vector, and a mirror of ResNet-18 in nearest-neighbour resize convolutions."""

    name: Literal["autoencoder"] = "autoencoder"
    latent: int = Field(256, ge=1, description="length of the bottleneck")
    width: int = Field(64, ge=1, description="channels of the last stage; 64 as published, fewer are cheaper")

    def build(self, dim: int, size: int, classes: int) -> Objective:
        """See `ObjectiveSpec.build`; genera do not matter."""
        del classes
        if size % (_SEED * _DOUBLINGS):
            raise ValueError(f"the autoencoder draws images of a multiple of 32 px, not {size}: change encoder.size")
        return _Decoder(dim, self.latent, self.width, size)


class _Block(nn.Module):
    """Residual block (He et al. 2016); its second convolution comes after the enlargement."""

    def __init__(self, given: int, made: int, scale: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(given, given, 3, padding=1, bias=False),
            nn.BatchNorm2d(given),
            nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=scale),
            nn.Conv2d(given, made, 3, padding=1, bias=False),
            nn.BatchNorm2d(made),
        )
        plain = scale == 1 and given == made
        # A 1×1 convolution commutes with copying pixels: before the enlargement it costs a quarter.
        self.skip = (
            nn.Identity()
            if plain
            else nn.Sequential(
                nn.Conv2d(given, made, 1, bias=False), nn.BatchNorm2d(made), nn.Upsample(scale_factor=scale)
            )
        )

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(self.main(maps) + self.skip(maps))


class _Decoder(Objective):
    def __init__(self, dim: int, latent: int, width: int, size: int) -> None:
        super().__init__()
        self.first = 8 * width
        self.encode = nn.Linear(dim, latent)
        self.open = nn.Linear(latent, self.first * _SEED**2)
        self.enlarge = nn.Upsample(scale_factor=size // (_SEED * _DOUBLINGS))
        stages: list[nn.Module] = []
        given = self.first
        for made, scale in ((4 * width, 2), (2 * width, 2), (width, 2), (width, 1)):
            stages += [_Block(given, made, scale), _Block(made, made, 1)]
            given = made
        self.stages = nn.Sequential(*stages)
        self.draw = nn.Conv2d(width, 3, 3, padding=1)

    def reconstruct(self, features: Tensor) -> Tensor:
        """Images drawn from features [n, d]: Float [n, 3, size, size] in [0, 1]."""
        maps = self.open(self.encode(features)).view(-1, self.first, _SEED, _SEED)
        drawn: Tensor = self.draw(self.stages(self.enlarge(maps)))
        return torch.sigmoid(drawn.float())

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Mean squared error over all pixels and channels."""
        del labels
        return {"loss": functional.mse_loss(self.reconstruct(features), images.float())}

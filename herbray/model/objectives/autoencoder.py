"""Image reconstruction through a bottleneck (Walker et al. 2022): residual decoder, mean squared pixel error."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from herbray.model.objectives.base import NO_FACTS, DataFacts, Objective, ObjectiveSpec

_START_SIDE = 4  # side of the feature map that is made from the latent vector
_STAGES_SCALE = 8  # factor by which the stages enlarge the map


class Autoencoder(ObjectiveSpec):
    """A linear map to a latent vector, and a mirrored ResNet-18 with nearest-neighbour resize convolutions."""

    name: Literal["autoencoder"] = "autoencoder"
    latent: int = Field(256, ge=1, description="length of the bottleneck")
    width: int = Field(64, ge=1, description="channels of the last stage; 64 as published, fewer cost less")

    @property
    def draws_images(self) -> bool:
        """The decoder is built for one side."""
        return True

    def build(self, dim: int, size: int, classes: int, facts: DataFacts = NO_FACTS) -> Objective:
        """See `ObjectiveSpec.build`; the number of labels is not used."""
        del classes, facts
        return _Decoder(dim, self.latent, self.width, size)


class _Block(nn.Module):
    """Residual block (He et al. 2016) that enlarges the map before its second convolution."""

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
        # A 1×1 convolution commutes with copying pixels; before the enlargement it costs a quarter.
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
        self.open = nn.Linear(latent, self.first * _START_SIDE**2)
        whole = _START_SIDE * _STAGES_SCALE
        self.enlarge = nn.Upsample(scale_factor=max(1, size // whole))
        # Sides between the multiples of 32 px: the last map is brought to the size before it is drawn.
        self.fit: nn.Module = nn.Identity() if size % whole == 0 else nn.Upsample((size, size))
        stages: list[nn.Module] = []
        given = self.first
        for made, scale in ((4 * width, 2), (2 * width, 2), (width, 2), (width, 1)):
            stages += [_Block(given, made, scale), _Block(made, made, 1)]
            given = made
        self.stages = nn.Sequential(*stages)
        self.draw = nn.Conv2d(width, 3, 3, padding=1)

    def reconstruct(self, features: Tensor) -> Tensor:
        """Reconstruct images from features [n, d]: Float [n, 3, size, size] in [0, 1]."""
        maps = self.open(self.encode(features)).view(-1, self.first, _START_SIDE, _START_SIDE)
        drawn: Tensor = self.draw(self.fit(self.stages(self.enlarge(maps))))
        return torch.sigmoid(drawn.float())

    def forward(self, features: Tensor, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the mean squared error over all pixels and channels."""
        del labels
        return {"loss": functional.mse_loss(self.reconstruct(features), images.float())}

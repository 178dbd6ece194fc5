"""Batched augmentation on the images' device: uint8 in, one resampling, floats in [0, 1] out.

The transforms are those of Walker et al. 2022: flip, rotation, zoom, warp, light, random resized crop. All that moves
pixels is one projective map per image and is sampled once; they sampled twice, and cropped all images of a batch alike.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from herbray.config import Spec


class Augment(Spec):
    """How far an image may be changed. The numbers are the paper's; `preset: walker2022` also changes in its ways."""

    flip: float = Field(0.5, ge=0, le=1, description="probability of a mirror image")
    rotate: float = Field(10.0, ge=0, le=180, description="degrees, either way")
    zoom: float = Field(1.1, ge=1, le=4, description="largest magnification")
    warp: float = Field(0.2, ge=0, le=0.4, description="tilt of the sheet, horizontally and vertically, either way")
    p_affine: float = Field(0.75, ge=0, le=1, description="probability of rotation, zoom and warp, each on its own")
    brightness: float = Field(0.2, ge=0, lt=1, description="relative change, either way")
    contrast: float = Field(0.2, ge=0, lt=1, description="relative change about the image's mean, either way")
    p_light: float = Field(0.75, ge=0, le=1, description="probability of brightness and contrast, each on its own")
    crop_scale: float = Field(0.75, gt=0, le=1, description="smallest share of the area that the crop keeps")
    padding: Literal["reflection", "border", "zeros"] = Field("reflection", description="what lies beyond the edge")
    zoom_about: Literal["centre", "anywhere"] = Field("centre", description="the point that zooming leaves in place")
    light: Literal["linear", "logit"] = Field("linear", description="what is changed: pixels, or their log odds")


@torch.no_grad()
def augment(images: Tensor, seed: int, size: int, spec: Augment, views: int = 1) -> Tensor:
    """Change each image at random.

    All random numbers are drawn on the CPU from the seed, a fixed number for each row: the result depends on the
    images, the seed and the row's place, not on the device or the process.

    Args:
        images: UInt8 [n, s, s, 3] or [n, 3, s, s].
        seed: of the batch.
        size: side of the result in pixels.
        spec: how far.
        views: copies of each image, changed independently, side by side.

    Returns:
        Float [n · views, 3, size, size] in [0, 1], on the device of `images`.

    Raises:
        ValueError: images that are not square RGB bytes.
    """
    planes = _planes(images)
    # Bilinear sampling looks at four pixels: shrink larger images first, to about the scale at which they are sampled.
    planes = _shrink(planes, math.ceil(size / math.sqrt(spec.crop_scale)))
    if views > 1:
        planes = planes.repeat_interleave(views, dim=0)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(len(planes), 15, generator=generator, dtype=torch.float64)
    about = torch.rand(len(planes), 2, generator=generator, dtype=torch.float64)  # last: the others stay as they were
    grid = _grid(_sent(_maps(torch.cat([draws[:, :11], about], dim=1), spec), planes), size)
    sampled = functional.grid_sample(planes, grid, "bilinear", spec.padding, align_corners=False)
    light = _light if spec.light == "linear" else _light_odds
    return light(sampled, _sent(draws[:, 11:], planes), spec)


@torch.no_grad()
def prepare(images: Tensor, size: int) -> Tensor:
    """Images as evaluation sees them: unchanged but for their size.

    Args:
        images: UInt8 [n, s, s, 3] or [n, 3, s, s].
        size: side of the result in pixels.

    Returns:
        Float [n, 3, size, size] in [0, 1], on the device of `images`; antialiased where s is larger.

    Raises:
        ValueError: images that are not square RGB bytes.
    """
    planes = _planes(images)
    return planes if planes.shape[-1] == size else _resize(planes, size)


def _sent(numbers: Tensor, planes: Tensor) -> Tensor:
    """Numbers of the CPU in the type and on the device of `planes`; a GPU need not have finished its work for that."""
    return numbers.to(planes.device, planes.dtype, non_blocking=True)


def _planes(images: Tensor) -> Tensor:
    """Float [n, 3, s, s] in [0, 1]."""
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images are {images.dtype} {shape}; wanted uint8 [n, s, s, 3] or [n, 3, s, s]")
    if shape[1] == 3 and shape[2] == shape[3]:
        planes = images
    elif shape[3] == 3 and shape[1] == shape[2]:
        planes = images.permute(0, 3, 1, 2)
    else:
        raise ValueError(f"images have shape {shape}; wanted squares, [n, s, s, 3] or [n, 3, s, s]")
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _shrink(planes: Tensor, side: int) -> Tensor:
    return _resize(planes, side) if planes.shape[-1] > side else planes


def _resize(planes: Tensor, side: int) -> Tensor:
    resized = functional.interpolate(planes, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return resized.clamp_(0, 1)  # rounding may leave the range by a hair


def _maps(draws: Tensor, spec: Augment) -> Tensor:
    """Projective maps from output to input coordinates, both in [-1, 1]: Float [m, 3, 3] from draws [m, 13]."""
    flip, turned, angle, zoomed, zoom, warped, across, along, area, left, top, x, y = draws.unbind(dim=1)
    zero, one = torch.zeros_like(flip), torch.ones_like(flip)
    mirror = torch.where(flip < spec.flip, -one, one)
    radians = torch.where(turned < spec.p_affine, (2 * angle - 1) * math.radians(spec.rotate), zero)
    scale = torch.where(zoomed < spec.p_affine, 1 / (1 + zoom * (spec.zoom - 1)), one)
    tilt = torch.where(warped < spec.p_affine, one, zero) * spec.warp
    reach = 1 - scale if spec.zoom_about == "anywhere" else zero
    cos, sin = radians.cos(), radians.sin()
    kept = (spec.crop_scale + area * (1 - spec.crop_scale)).sqrt()  # side of the crop over side of the image
    spare = 1 - kept
    crop = _matrix(kept, zero, (2 * left - 1) * spare, zero, kept, (2 * top - 1) * spare, zero, zero, one)
    turn = _matrix(mirror * cos, -sin, zero, mirror * sin, cos, zero, zero, zero, one)
    turn = turn @ _matrix(scale, zero, (2 * x - 1) * reach, zero, scale, (2 * y - 1) * reach, zero, zero, one)
    warp = _matrix(one, zero, zero, zero, one, zero, (2 * across - 1) * tilt, (2 * along - 1) * tilt, one)
    return warp @ turn @ crop


def _matrix(*entries: Tensor) -> Tensor:
    return torch.stack(entries, dim=1).view(-1, 3, 3)


def _grid(maps: Tensor, size: int) -> Tensor:
    """Where each output pixel is read: Float [m, size, size, 2]."""
    centres = ((torch.arange(size, device=maps.device, dtype=maps.dtype) * 2 + 1) / size - 1).view(1, -1, 1)
    across, down, fixed = (column.unsqueeze(1) for column in maps.unbind(dim=2))
    mapped = (centres * across + fixed).unsqueeze(1) + (centres * down).unsqueeze(2)
    return mapped[..., :2] / mapped[..., 2:]


def _light(planes: Tensor, draws: Tensor, spec: Augment) -> Tensor:
    """Brightness, then contrast about the mean, both in one multiplication: planes [m, 3, s, s], draws [m, 4]."""
    brightened, brightness, sharpened, contrast = draws.view(-1, 4, 1, 1, 1).unbind(dim=1)
    gain = torch.where(brightened < spec.p_light, 1 + (2 * brightness - 1) * spec.brightness, 1.0)
    slope = torch.where(sharpened < spec.p_light, 1 + (2 * contrast - 1) * spec.contrast, 1.0)
    mean = planes.mean(dim=(1, 2, 3), keepdim=True)
    return torch.addcmul(mean * gain * (1 - slope), planes, gain * slope).clamp_(0, 1)


def _light_odds(planes: Tensor, draws: Tensor, spec: Augment) -> Tensor:
    """Brightness added to the log odds of a pixel, contrast times them, as Walker et al. 2022 had it from fastai 2.

    The odds of mid grey are 1: brightness moves mid grey by at most its share, contrast leaves it where it is.
    """
    brightened, brightness, sharpened, contrast = draws.view(-1, 4, 1, 1, 1).unbind(dim=1)
    grey = torch.where(brightened < spec.p_light, 0.5 * (1 + (2 * brightness - 1) * spec.brightness), 0.5)
    slope = torch.where(sharpened < spec.p_light, (1 - spec.contrast) ** (1 - 2 * contrast), 1.0)
    return torch.sigmoid((torch.logit(planes, eps=1e-6) + torch.logit(grey)) * slope)

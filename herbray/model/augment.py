"""Batched augmentation on the device of the images: uint8 in, floats in [0, 1] out, with a single resampling.

The transforms are those of Walker et al. 2022: flip, rotation, zoom, warp, light, random resized crop. All
geometric changes form one projective map per image, sampled once; the paper sampled twice, and applied the same crop to
every image of a batch.
"""

import math
from typing import Final, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from herbray.config import Spec

_LUMA: Final = (0.299, 0.587, 0.114)


class Augment(Spec):
    """How strongly images are augmented. The numbers are the paper's; `preset: walker2022` also uses its methods."""

    flip: float = Field(0.5, ge=0, le=1, description="probability of a mirror image")
    rotate: float = Field(10.0, ge=0, le=180, description="largest rotation in degrees, in either direction")
    zoom: float = Field(1.1, ge=1, le=4, description="largest magnification")
    warp: float = Field(
        0.2, ge=0, le=0.4, description="largest tilt of the sheet, horizontally and vertically, in either direction"
    )
    p_affine: float = Field(
        0.75, ge=0, le=1, description="probability of rotation, of zoom and of warp, drawn separately"
    )
    brightness: float = Field(0.2, ge=0, lt=1, description="largest relative change, up or down")
    contrast: float = Field(0.2, ge=0, lt=1, description="largest relative change around the image's mean, up or down")
    saturation: float = Field(0.0, ge=0, le=1, description="largest relative change of the saturation, up or down")
    tint: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="largest relative change of each colour channel, as by another lamp or camera",
    )
    p_light: float = Field(
        0.75,
        ge=0,
        le=1,
        description="probability of a change of brightness, of contrast, of saturation and of tint, drawn separately",
    )
    crop_scale: float = Field(0.75, gt=0, le=1, description="smallest share of the image area that a crop keeps")
    padding: Literal["reflection", "border", "zeros"] = Field(
        "reflection", description="what fills the area beyond the image edge"
    )
    zoom_about: Literal["centre", "anywhere"] = Field("centre", description="the fixed point of the zoom")
    light: Literal["linear", "logit"] = Field(
        "linear", description="scale of light changes: pixel values, or their log odds"
    )


@torch.no_grad()
def augment(images: Tensor, seed: int, size: int, spec: Augment, views: int = 1) -> Tensor:
    """Augment each image at random.

    All random numbers are drawn on the CPU from the seed, the same count for each row: the result depends on the
    images, the seed and the position of the row, not on the device or the process.

    Args:
        images: UInt8 [n, s, s, 3] or [n, 3, s, s].
        seed: seed of the batch.
        size: side of the result in pixels.
        spec: strength of the changes.
        views: copies of each image, augmented independently and adjacent in the result.

    Returns:
        Float [n · views, 3, size, size] in [0, 1], on the device of `images`.

    Raises:
        ValueError: images that are not square RGB bytes.
    """
    planes = _to_planes(images)
    # Bilinear sampling reads four pixels: larger images are first reduced to about the scale at which they are sampled.
    planes = _shrink(planes, math.ceil(size / math.sqrt(spec.crop_scale)))
    if views > 1:
        planes = planes.repeat_interleave(views, dim=0)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(len(planes), 15, generator=generator, dtype=torch.float64)
    # Later draws follow earlier ones, here and below, so that a setting that needs more numbers changes no other draw.
    about = torch.rand(len(planes), 2, generator=generator, dtype=torch.float64)
    grid = _make_grid(_send(make_maps(torch.cat([draws[:, :11], about], dim=1), spec), planes), size)
    sampled = functional.grid_sample(planes, grid, "bilinear", spec.padding, align_corners=False)
    light = _change_light if spec.light == "linear" else _change_log_odds
    lit = light(sampled, _send(draws[:, 11:], planes), spec)
    if spec.saturation == spec.tint == 0:
        return lit
    colours = torch.rand(len(planes), 6, generator=generator, dtype=torch.float64)
    return _change_colours(lit, _send(colours, planes), spec)


@torch.no_grad()
def prepare_images(images: Tensor, size: int) -> Tensor:
    """Scale images for evaluation, without augmentation.

    Args:
        images: UInt8 [n, s, s, 3] or [n, 3, s, s].
        size: side of the result in pixels.

    Returns:
        Float [n, 3, size, size] in [0, 1], on the device of `images`; antialiased if s is larger.

    Raises:
        ValueError: images that are not square RGB bytes.
    """
    planes = _to_planes(images)
    return planes if planes.shape[-1] == size else _resize(planes, size)


def _send(numbers: Tensor, planes: Tensor) -> Tensor:
    """Numbers of the CPU in the type and on the device of `planes`, without waiting for the GPU's earlier work."""
    return numbers.to(planes.device, planes.dtype, non_blocking=True)


def _to_planes(images: Tensor) -> Tensor:
    """Float [n, 3, s, s] in [0, 1]."""
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images are {images.dtype} {shape}; expected uint8 [n, s, s, 3] or [n, 3, s, s]")
    if shape[1] == 3 and shape[2] == shape[3]:
        planes = images
    elif shape[3] == 3 and shape[1] == shape[2]:
        planes = images.permute(0, 3, 1, 2)
    else:
        raise ValueError(f"images have shape {shape}; expected square images, [n, s, s, 3] or [n, 3, s, s]")
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def _shrink(planes: Tensor, side: int) -> Tensor:
    return _resize(planes, side) if planes.shape[-1] > side else planes


def _resize(planes: Tensor, side: int) -> Tensor:
    resized = functional.interpolate(planes, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return resized.clamp_(0, 1)  # rounding may leave [0, 1] slightly


def make_maps(draws: Tensor, spec: Augment) -> Tensor:
    """Make projective maps from output to input coordinates, both in [-1, 1]: draws [m, 13] → Float [m, 3, 3]."""
    flip, rotated, angle, zooms, zoom, warps, across, along, area, left, top, x, y = draws.unbind(dim=1)
    zero, one = torch.zeros_like(flip), torch.ones_like(flip)
    mirror = torch.where(flip < spec.flip, -one, one)
    radians = torch.where(rotated < spec.p_affine, (2 * angle - 1) * math.radians(spec.rotate), zero)
    scale = torch.where(zooms < spec.p_affine, 1 / (1 + zoom * (spec.zoom - 1)), one)
    tilt = torch.where(warps < spec.p_affine, one, zero) * spec.warp
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


def _make_grid(maps: Tensor, size: int) -> Tensor:
    """Compute the position that each output pixel samples: Float [m, size, size, 2]."""
    centres = ((torch.arange(size, device=maps.device, dtype=maps.dtype) * 2 + 1) / size - 1).view(1, -1, 1)
    across, down, fixed = (column.unsqueeze(1) for column in maps.unbind(dim=2))
    mapped = (centres * across + fixed).unsqueeze(1) + (centres * down).unsqueeze(2)
    return mapped[..., :2] / mapped[..., 2:]


def _change_light(planes: Tensor, draws: Tensor, spec: Augment) -> Tensor:
    """Apply brightness, then contrast around the mean, in one operation: planes [m, 3, s, s], draws [m, 4]."""
    has_brightness, brightness, has_contrast, contrast = draws.view(-1, 4, 1, 1, 1).unbind(dim=1)
    gain = torch.where(has_brightness < spec.p_light, 1 + (2 * brightness - 1) * spec.brightness, 1.0)
    slope = torch.where(has_contrast < spec.p_light, 1 + (2 * contrast - 1) * spec.contrast, 1.0)
    mean = planes.mean(dim=(1, 2, 3), keepdim=True)
    return torch.addcmul(mean * gain * (1 - slope), planes, gain * slope).clamp_(0, 1)


def _change_log_odds(planes: Tensor, draws: Tensor, spec: Augment) -> Tensor:
    """Add brightness to the log odds of each pixel and multiply by contrast, as fastai 2 did for Walker et al. 2022.

    The odds of mid grey are 1: brightness changes mid grey by at most its share, contrast does not change it.
    """
    has_brightness, brightness, has_contrast, contrast = draws.view(-1, 4, 1, 1, 1).unbind(dim=1)
    grey = torch.where(has_brightness < spec.p_light, 0.5 * (1 + (2 * brightness - 1) * spec.brightness), 0.5)
    slope = torch.where(has_contrast < spec.p_light, (1 - spec.contrast) ** (1 - 2 * contrast), 1.0)
    return torch.sigmoid((torch.logit(planes, eps=1e-6) + torch.logit(grey)) * slope)


def _change_colours(planes: Tensor, draws: Tensor, spec: Augment) -> Tensor:
    """Scale each pixel's distance from its grey (Rec. 601 luma), then each channel.

    Args:
        planes: [m, 3, s, s].
        draws: [m, 6].
        spec: strength of the changes.
    """
    has_saturation, saturation, has_tint = draws[:, :3].view(-1, 3, 1, 1, 1).unbind(dim=1)
    factor = torch.where(has_saturation < spec.p_light, 1 + (2 * saturation - 1) * spec.saturation, 1.0)
    gains = torch.where(has_tint < spec.p_light, 1 + (2 * draws[:, 3:].view(-1, 3, 1, 1) - 1) * spec.tint, 1.0)
    grey = (planes * planes.new_tensor(_LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)
    return torch.lerp(grey, planes, factor).mul_(gains).clamp_(0, 1)

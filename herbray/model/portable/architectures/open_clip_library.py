"""Image towers of the library open_clip, such as that of BioCLIP 2 (`open_clip:ViT-L-14` and its file of weights)."""

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from torch import Tensor, device, get_default_device, nn

from ..refusal import EncoderRefused
from .base import Architecture

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


@functools.cache
def describe(model: str) -> Architecture:
    """Describe the image tower of the model `model`, such as `ViT-B-16`.

    Raises:
        EncoderRefused: open_clip is not installed, or has no such model.
    """
    library = _import_open_clip(model)
    facts = library.get_model_config(model)
    if facts is None:
        near = difflib.get_close_matches(model, library.list_models(), 3)
        raise EncoderRefused(f"open_clip has no model {model!r}; the nearest names are {', '.join(near) or 'none'}")
    return Architecture(
        name=f"open_clip:{model}",
        title=f"{model} (open_clip)",
        dim=int(facts["embed_dim"]),
        build=functools.partial(_build, model),
        mean=_MEAN,
        std=_STD,
        step=int(facts["vision_cfg"].get("patch_size") or 32),
        resize=functools.partial(_resize, model),
        requires=("open_clip_torch",),
    )


def _build(model: str, stem: str, size: int) -> nn.Module:
    del stem
    settings = {"pretrained": None, "force_image_size": size, "device": get_default_device()}
    tower: nn.Module = _import_open_clip(model).create_model(model, **settings).visual
    return tower


def _resize(model: str, tensors: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Interpolate the positions of patches to those of another input side."""
    from open_clip.model import resize_pos_embed

    state = {f"visual.{name}": tensor for name, tensor in tensors.items()}
    with device("meta"):
        holder: Any = nn.Module()
        holder.visual = _build(model, "standard", size)
    if hasattr(holder.visual, "grid_size"):
        resize_pos_embed(state, holder)
    return {name.removeprefix("visual."): tensor for name, tensor in state.items()}


def _import_open_clip(model: str) -> Any:  # noqa: ANN401  (the library has no types)
    try:
        import open_clip
    except ModuleNotFoundError:
        raise EncoderRefused(f"arch=open_clip:{model} needs a library: pip install 'herbray[open_clip]'") from None
    return open_clip

"""Vision transformer, small, patches of 16 px (Dosovitskiy et al. 2021; the size of Touvron et al. 2021)."""

import re
from collections.abc import Mapping
from typing import Final

from torch import Tensor, nn

from .base import Architecture

_PATCH: Final = 16

_TIMM_NAMES: Final = (  # name in timm → name in torchvision
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^norm\.", "encoder.ln."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"encoder.layers.encoder_layer_\1.ln_\2."),
    (r"^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$", r"encoder.layers.encoder_layer_\1.self_attention.in_proj_\2"),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.encoder_layer_\1.self_attention.out_proj."),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", r"encoder.layers.encoder_layer_\1.mlp.0."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", r"encoder.layers.encoder_layer_\1.mlp.3."),
)


def _build(stem: str, size: int) -> nn.Module:
    import torchvision  # imported here: it loads torch's compiler, which takes 1.5 s

    del stem
    network: nn.Module = torchvision.models.VisionTransformer(
        image_size=size, patch_size=_PATCH, num_layers=12, num_heads=6, hidden_dim=384, mlp_dim=1536
    )
    network.heads = nn.Identity()
    return network


def _translate(name: str) -> str:
    """`blocks.3.norm1.weight` → `encoder.layers.encoder_layer_3.ln_1.weight`."""
    for pattern, ours in _TIMM_NAMES:
        name, count = re.subn(pattern, ours, name)
        if count:
            break
    return name


def _resize(tensors: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Interpolate the positions of patches to those of another input side."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    if "encoder.pos_embedding" not in tensors:
        return dict(tensors)
    return dict(interpolate_embeddings(size, _PATCH, dict(tensors)))


VIT_SMALL: Final = Architecture(
    name="vit_small",
    title="ViT-S/16",
    dim=384,
    build=_build,
    step=_PATCH,
    layouts=(_translate,),
    resize=_resize,
)

"""Any model of the library timm by its name there: pooled features, the library's own mean and deviation."""

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from torch import Tensor, device, nn

from ..refusal import EncoderRefused
from .base import Architecture


@functools.cache
def describe(model: str) -> Architecture:
    """Describe the model `model`, such as `vit_tiny_patch16_224` or `resnet50.a1_in1k`.

    Raises:
        EncoderRefused: timm is not installed, or has no such model.
    """
    library = _import_timm(model)
    if not library.is_model(model):
        near = difflib.get_close_matches(model, library.list_models(), 3)
        raise EncoderRefused(f"timm has no model {model!r}; the nearest names are {', '.join(near) or 'none'}")
    facts = library.get_pretrained_cfg(model, allow_unregistered=True)
    fixed = bool(facts and facts.fixed_input_size)
    with device("meta"):  # shapes without weights
        network = library.create_model(model, pretrained=False, num_classes=0)
    return Architecture(
        name=f"timm:{model}",
        title=f"{model} (timm)",
        dim=int(network.num_features),
        build=functools.partial(_build, model, fixed),
        **({"mean": facts.mean, "std": facts.std} if facts else {}),
        step=_patch(network),
        resize=functools.partial(_resize, model) if fixed else None,
        fetch=functools.partial(_fetch, model),
        requires=("timm",),
    )


def _build(model: str, fixed: bool, stem: str, size: int) -> nn.Module:
    del stem
    options: dict[str, Any] = {"img_size": size} if fixed else {}
    network: nn.Module = _import_timm(model).create_model(model, pretrained=False, num_classes=0, **options)
    return network


def _patch(network: Any) -> int:  # noqa: ANN401  (timm's models share no class)
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(patch[0] if isinstance(patch, tuple) else patch)


def _resize(model: str, tensors: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Interpolate the positions of patches to those of another input side."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    with device("meta"):
        network: Any = _build(model, True, "standard", size)
    given, due = tensors.get("pos_embed"), getattr(network, "pos_embed", None)
    if given is None or due is None or given.shape == due.shape:
        return dict(tensors)
    prefix = getattr(network, "num_prefix_tokens", 0)
    made = resample_abs_pos_embed(given, list(network.patch_embed.grid_size), num_prefix_tokens=prefix)
    return {**tensors, "pos_embed": made}


def _fetch(model: str) -> dict[str, Tensor]:
    """The library's own weights, from its cache or downloaded by it."""
    try:
        network = _import_timm(model).create_model(model, pretrained=True)
    except Exception as error:  # the library and its downloader raise many kinds
        raise EncoderRefused(
            f"init=imagenet: timm could not fetch the weights of {model} ({type(error).__name__}); download them where "
            "there is a network, and set encoder.init to the path of the file"
        ) from None
    tensors: dict[str, Tensor] = network.state_dict()
    return tensors


def _import_timm(model: str) -> Any:  # noqa: ANN401  (the library has no types)
    try:
        import timm
    except ModuleNotFoundError:
        raise EncoderRefused(f"arch=timm:{model} needs a library: pip install 'herbray[timm]'") from None
    return timm

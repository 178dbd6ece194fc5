"""Start weights from a file of torchvision, timm, lightly or Lightning, or from ImageNet's published files.

Files are read without unpickling code, whatever their origin.
"""

import importlib.util
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from herbray.model.portable import Architecture, Encoder, EncoderRefused, check_finite, find_architecture

PREFIXES: Final = frozenset(
    ("module", "model", "backbone", "encoder", "net", "network", "visual", "_orig_mod", "student", "student_backbone")
)
"""Members under which training code keeps its network; any sequence of them may stand before a tensor's name."""

HEADS: Final = ("fc", "classifier", "head", "heads", "_fc")
"""Members that hold a published network's classifier, which is dropped."""

_CONTAINERS: Final = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
"""Keys under which training code saves a `state_dict` beside other things."""

OFFLINE: Final = "HERBRAY_OFFLINE"
"""Environment variable; if it is set, nothing is downloaded."""

_log = logging.getLogger(__name__)


class _Fit(NamedTuple):
    """The tensors of a file under the network's names, as far as they fit.

    Attributes:
        tensors: that the network has.
        more: names that a larger network of the same kind has.
        other: names in the file that belong to something else, without those of a classifier.
    """

    tensors: dict[str, Tensor]
    more: list[str]
    other: list[str]


def load_imagenet(encoder: Encoder, path: Path | None = None) -> None:
    """Load published ImageNet weights.

    Args:
        encoder: receives them.
        path: their file; None: `imagenet_path`, downloaded if torchvision knows its address and there is a network.

    Raises:
        EncoderRefused: there is no such file, or it is not the weights of the architecture.
    """
    architecture = encoder.architecture
    if path is None and architecture.fetch is not None:
        return _load(encoder, architecture.fetch(), f"init=imagenet of {architecture.name}")
    if path is None:
        path = imagenet_path(architecture.name)
        if not path.is_file():
            _download(architecture, path)
    return load_file_of_weights(encoder, path)


def imagenet_path(arch: str) -> Path:
    """Return where ImageNet weights are expected: torchvision's cache (see `TORCH_HOME`), or a package that ships them.

    The package is located without being imported: none of its code runs.

    Raises:
        EncoderRefused: the architecture has no published file.
    """
    published = find_architecture(arch).published
    if published is None:
        raise EncoderRefused(
            f"{arch} has no published ImageNet weights that herbray knows: set encoder.init to a file of weights, or "
            "to random"
        )
    if published.package is None:
        return Path(torch.hub.get_dir()) / "checkpoints" / published.file
    found = importlib.util.find_spec(published.package)
    locations = found.submodule_search_locations if found else None
    return Path(*(locations or [f"site-packages/{published.package}"])[:1]) / "models" / published.file


def load_file_of_weights(encoder: Encoder, path: Path) -> None:
    """Load a file of weights: a `state_dict` of torch, a checkpoint that holds one, or a safetensors file.

    Prefixes of training code are taken off the names (`PREFIXES`), the names of other libraries are translated, a
    classifier is dropped, and the positions of a transformer are adapted to the encoder's size.

    Raises:
        EncoderRefused: the file is missing, damaged, holds anything but tensors, or is not of the architecture.
    """
    _load(encoder, read_tensors(path, encoder.arch), str(path))


def read_tensors(path: Path, arch: str) -> dict[str, Tensor]:
    """Read the tensors of a file, with the names that they have there.

    Raises:
        EncoderRefused: the file is missing, damaged, holds anything but tensors, or a tensor that is not finite.
    """
    if not path.is_file():
        raise EncoderRefused(f"{path}: no such file. {_remedy(arch)}")
    try:
        tree = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except SafetensorError as error:
        raise EncoderRefused(f"{path}: not a readable safetensors file ({error})") from None
    except Exception as error:  # torch raises many kinds of errors for a file of another format
        raise EncoderRefused(f"{path}: not a file of weights ({type(error).__name__}: {_first_line(error)})") from None
    for key in _CONTAINERS:
        if isinstance(tree, dict) and isinstance(tree.get(key), dict):
            tree = tree[key]
            break
    if not isinstance(tree, dict):
        raise EncoderRefused(f"{path}: not a mapping of tensors; expected the weights of {arch}")
    tensors = {str(name): value for name, value in tree.items() if isinstance(value, Tensor)}
    if not tensors:
        raise EncoderRefused(f"{path}: not a mapping of tensors; expected the weights of {arch}")
    check_finite(tensors, path)
    return tensors


def _load(encoder: Encoder, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Load the best fit of the tensors, or say what is missing."""
    due = encoder.network.state_dict()
    fit = max(_fits(encoder.architecture, tensors, due, encoder.size), key=lambda fit: len(fit.tensors))
    counters = {n: t for n, t in due.items() if n.endswith("num_batches_tracked")}  # older files lack them
    missing = sorted(due.keys() - fit.tensors.keys() - counters.keys())
    if missing or fit.more:
        wrong = (
            f"{len(missing):,} of {len(due):,} tensors are missing or have another shape, {_name_some(missing)}"
            if missing
            else f"it holds {len(fit.more):,} tensors that the network lacks, {_name_some(fit.more)}"
        )
        raise EncoderRefused(
            f"{origin}: not the weights of {encoder.arch}: {wrong}. The file holds {_name_some(sorted(tensors))}: set "
            "encoder.arch to the architecture of the file"
        )
    if fit.other:
        _log.warning("%s: tensors that are not of the encoder: %d, %s", origin, len(fit.other), _name_some(fit.other))
    encoder.network.load_state_dict(counters | fit.tensors, strict=True)


def _fits(
    architecture: Architecture, tensors: Mapping[str, Tensor], due: Mapping[str, Tensor], size: int
) -> Iterator[_Fit]:
    """Try each prefix that occurs with each layout."""
    members = {name.partition(".")[0] for name in due}
    for prefix in sorted(_prefixes(tensors)):
        inner = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for rename in (_keep_name, *architecture.layouts):
            named = {rename(name): tensor for name, tensor in inner.items()}
            if architecture.resize is not None:
                named = _resize(architecture, named, size)
            found = {n: t for n, t in named.items() if n in due and t.shape == due[n].shape}
            left = sorted(name for name in named if name not in found and not _is_head(name))
            more = [name for name in left if name.partition(".")[0] in members]
            outer = sorted(name for name in tensors if not name.startswith(prefix))
            yield _Fit(found, more, [name for name in left if name not in more] + outer)


def _keep_name(name: str) -> str:
    return name


def _resize(architecture: Architecture, tensors: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    try:
        return architecture.resize(tensors, size) if architecture.resize else tensors
    except (ValueError, RuntimeError, KeyError):  # of another architecture: reported as a wrong shape
        return tensors


def _prefixes(names: Iterable[str]) -> set[str]:
    """All sequences of `PREFIXES` that stand before a name, with their dot; and the empty one."""
    found = {""}
    for name in names:
        parts = name.split(".")
        for count in range(1, len(parts)):
            if parts[count - 1] not in PREFIXES:
                break
            found.add(".".join(parts[:count]) + ".")
    return found


def _is_head(name: str) -> bool:
    return name.partition(".")[0] in HEADS


def _download(architecture: Architecture, path: Path) -> None:
    """Download torchvision's file, if there is a network; checked against the digits of its name."""
    published = architecture.published
    if published is None or not published.weights or os.environ.get(OFFLINE):
        return
    import socket

    import torchvision

    kind, _, member = published.weights.partition(".")
    path.parent.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        url = getattr(torchvision.models, kind)[member].url
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2], progress=False)
    except (OSError, RuntimeError) as error:  # no network; or a file that is not the published one
        _log.info("%s could not be downloaded: %s", path.name, error)
    finally:
        socket.setdefaulttimeout(before)


def _remedy(arch: str) -> str:
    """The sentence that says which file to put where."""
    published = find_architecture(arch).published
    ways = "set encoder.init to the path of a file of weights, or to random"
    if published is None:
        return ways.capitalize()
    if published.package is not None:
        return f"init=imagenet reads {published.file} from a package: {published.install}; or {ways}"
    return (
        f"init=imagenet reads torchvision's {published.file}, which could not be downloaded: put the file there, set "
        f"TORCH_HOME, or {ways}"
    )


def _name_some(names: list[str]) -> str:
    return f"among them {', '.join(names[:3])}" if len(names) > 3 else ", ".join(names)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else ""

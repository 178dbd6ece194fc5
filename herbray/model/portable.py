"""The encoder without herbray: network, preprocessing and strict loading in one file that travels with the weights.

A registered model carries a copy of this file, so that people who have torch but not herbray get the same numbers.
Imports nothing of herbray.
"""

import hashlib
import io
import json
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

WEIGHTS: Final = "encoder.safetensors"
"""File of the parameters and running statistics."""

CARD: Final = "encoder.json"
"""File of all else that is known of the encoder."""

FORMATS: Final = ("JPEG", "PNG")
"""Formats that Pillow may try; its other decoders see no untrusted byte."""

Arch = Literal["resnet18", "efficientnet_lite0"]
"""Architectures: He et al. 2016, which the study used; Tan and Le 2019 in the form without squeeze-and-excitation."""

DIMS: Final[dict[str, int]] = {"resnet18": 512, "efficientnet_lite0": 1280}
"""Length of the features of each architecture."""

STEMS: Final = ("standard", "cifar")
"""`standard`: 7×7 convolution of stride 2, max-pool. `cifar`: 3×3 of stride 1, no pool (Krizhevsky's 32 px images)."""

GEOMETRIES: Final = ("crop", "pad")
"""How an image is made square: the ends of its long side cut off, or bands of its paper's colour added beside it."""

SIZES: Final = range(16, 2049)
"""Input sides in pixels that an encoder may declare."""

SEAL: Final = "sha256"
"""Key of the card under which the digest of its other keys stands."""

MAX_CARD_BYTES: Final = 8 * 2**20
"""Largest card that is read: 100,000 genera take about 2 MB."""

_REMEDY: Final = "run the job that wrote it again, or pull it anew"
_SLACK: Final = 2**20  # of a weights file: its header
_NORMS: Final = {  # mean and deviation that the published weights expect, RGB in [0, 1]
    "resnet18": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "efficientnet_lite0": ((127 / 255,) * 3, (128 / 255,) * 3),
}
_LITE0: Final = (  # blocks, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_DTYPES: Final = {torch.float32: "F32", torch.int64: "I64"}


class EncoderRefused(ValueError):
    """Files that are no encoder of this version, or an encoder that they do not fit."""


class Encoder(nn.Module):
    """A network up to its average pool: square images to `dim` numbers.

    Attributes:
        arch: name of the architecture, see `Arch`.
        stem: see `STEMS`; of ResNet-18.
        normalise: whether the mean and deviation that ImageNet weights expect are taken off inside `forward`.
        size: side of the input in pixels.
        geometry: how `embed` makes an image square, see `square`; as the sheets of its training.
        dim: length of a feature vector.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, arch: str = "resnet18", stem: str = "standard", normalise: bool = True, size: int = 256) -> None:
        """Build the network with torch's default start weights.

        Raises:
            EncoderRefused: unknown architecture or stem, or a size outside `SIZES`.
        """
        super().__init__()
        if arch not in DIMS or stem not in STEMS or size not in SIZES:
            raise EncoderRefused(
                f"arch={arch!r}, stem={stem!r}, size={size!r}: known are {', '.join(DIMS)}; {', '.join(STEMS)}; "
                f"{SIZES[0]} to {SIZES[-1]} px"
            )
        self.arch, self.stem, self.normalise, self.size, self.dim = arch, stem, normalise, size, DIMS[arch]
        self.geometry = "crop"
        if arch != "resnet18" and stem != "standard":
            raise EncoderRefused(f"arch={arch!r} has a standard stem, not {stem!r}")
        self.network = _resnet18(stem) if arch == "resnet18" else _efficientnet_lite0()
        # Constants, not state: they follow the module to its device and stay out of its file.
        mean, std = _NORMS[arch]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images.

        Args:
            images: Float [n, 3, size, size], RGB in [0, 1].

        Returns:
            Float [n, dim].

        Raises:
            ValueError: another shape, or not floating point.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, self.size, self.size):
            raise ValueError(
                f"images have shape {tuple(images.shape)}; this encoder was made for [n, 3, {self.size}, {self.size}]: "
                f"resize them, or build an encoder with size={images.shape[-1] if images.ndim else '…'}"
            )
        if not images.is_floating_point():
            raise ValueError(f"images are {images.dtype}; give floats in [0, 1] (`herbray.model.augment.prepare`)")
        if self.normalise:
            images = (images - self.mean) / self.std
        features: Tensor = self.network(images)
        return features

    def embed(self, images: Sequence[bytes], batch: int = 64) -> npt.NDArray[np.float32]:
        """Features of encoded images, in evaluation mode, without gradient.

        Args:
            images: n JPEG or PNG files as bytes, of any size; see `square`.
            batch: how many are held decoded at a time.

        Returns:
            Float32 [n, dim].

        Raises:
            ValueError: an image cannot be decoded; the message gives its place.
        """
        mode, device = self.training, next(self.parameters()).device
        out = np.empty((len(images), self.dim), np.float32)
        self.eval()
        try:
            for start in range(0, len(images), batch):
                pixels = _squares(images[start : start + batch], self.size, self.geometry, start)
                with torch.inference_mode():
                    scaled = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
                    out[start : start + len(pixels)] = self(scaled).float().cpu().numpy()
        finally:
            self.train(mode)
        return out


def square(data: bytes, size: int, geometry: str = "crop") -> npt.NDArray[np.uint8]:
    """Decode an image, turn it upright, bring its short side to `size` pixels (antialiased) and cut the centre.

    With `geometry="pad"` the long side is brought to `size`, and bands in the median colour of the edge that they meet
    make it square.

    Returns:
        UInt8 [size, size, 3], RGB.

    Raises:
        ValueError: neither JPEG nor PNG, damaged, or of so many pixels that it may be an attack.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # odd EXIF: the pixels decide
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                return _pad(opened, size) if geometry == "pad" else _cut(opened, size)
    except UnidentifiedImageError:
        raise ValueError(f"the bytes are neither {' nor '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"the image is too large: {error}") from None
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, OverflowError, EOFError) as error:
        raise ValueError(f"the image cannot be decoded: {error}") from None


def load(folder: str | Path) -> Encoder:
    """Read an encoder from `encoder.safetensors` and `encoder.json`; runs no code from either.

    Returns:
        The encoder, in evaluation mode, on the CPU.

    Raises:
        EncoderRefused: a file is missing, too large or malformed, or the two do not fit.
    """
    card = read_card(folder)
    kinds = {"arch": str, "stem": str, "normalise": bool, "size": int}
    for key, kind in kinds.items():
        if type(card.get(key)) is not kind:
            raise EncoderRefused(f"{Path(folder) / CARD}: {key} is {card.get(key)!r}, not a {kind.__name__}")
    encoder = Encoder(**{key: card[key] for key in kinds})
    encoder.geometry = card.get("geometry", "crop")  # which earlier cards lack
    if encoder.geometry not in GEOMETRIES:
        raise EncoderRefused(f"{Path(folder) / CARD}: geometry is {encoder.geometry!r}, not {' or '.join(GEOMETRIES)}")
    load_weights(encoder, Path(folder) / WEIGHTS, card.get("weights", ""))
    return encoder.eval()


def read_card(folder: str | Path) -> dict[str, Any]:
    """Read `encoder.json` of a folder: strict JSON, one mapping, no key twice.

    Returns:
        The card without its digest, which cards of earlier versions lack.

    Raises:
        EncoderRefused: missing, larger than `MAX_CARD_BYTES`, not such JSON, or changed since it was written.
    """
    path = Path(folder) / CARD
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise EncoderRefused(f"{path}: {path.stat().st_size:,} bytes; a card has at most {MAX_CARD_BYTES:,}")
        tree = json.loads(path.read_text("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except FileNotFoundError:
        raise EncoderRefused(f"{path}: no such file; an encoder is a folder with {WEIGHTS} and {CARD}") from None
    except EncoderRefused:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderRefused(f"{path}: not a readable card ({error})") from None
    if not isinstance(tree, dict):
        raise EncoderRefused(f"{path}: a card is a mapping of keys, not a {type(tree).__name__}")
    if tree.pop(SEAL, None) not in (None, card_digest(tree)):
        raise EncoderRefused(f"{path}: damaged, it was changed since it was written; {_REMEDY}")
    return tree


def card_digest(tree: dict[str, Any]) -> str:
    """SHA-256 of a card's keys, the digest left out: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def load_weights(encoder: Encoder, path: Path, sha256: str = "") -> None:
    """Fill an encoder from a safetensors file that holds exactly its tensors.

    Names, shapes and types are compared on the file's header, before any tensor is read.

    Args:
        encoder: to be filled.
        path: of the file.
        sha256: of the file, as its card has it; empty: of an earlier version's card.

    Raises:
        EncoderRefused: missing or damaged file, a tensor missing, too many, of another shape or type, or not finite.
    """
    wanted = encoder.state_dict()
    limit = sum(t.numel() * t.element_size() for t in wanted.values()) + _SLACK
    try:
        if path.stat().st_size > limit:
            raise EncoderRefused(f"{path}: {path.stat().st_size:,} bytes; a {encoder.arch} has at most {limit:,}")
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            _compare(names, set(wanted), path)
            for name, tensor in wanted.items():
                part = file.get_slice(name)
                found, due = (part.get_dtype(), part.get_shape()), (_DTYPES[tensor.dtype], list(tensor.shape))
                if found != due:
                    raise EncoderRefused(f"{path}: {name} is {found[0]} {found[1]}; wanted {due[0]} {due[1]}")
            tensors = {name: file.get_tensor(name) for name in wanted}
        if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise EncoderRefused(f"{path}: damaged, it was changed since it was written; {_REMEDY}")
    except FileNotFoundError:
        raise EncoderRefused(f"{path}: no such file; an encoder is a folder with {WEIGHTS} and {CARD}") from None
    except (OSError, SafetensorError) as error:
        raise EncoderRefused(f"{path}: not a readable safetensors file ({error})") from None
    check_finite(tensors, path)
    encoder.load_state_dict(tensors, strict=True)


def check_finite(tensors: dict[str, Tensor], origin: object) -> None:
    """Raise `EncoderRefused` on the first tensor that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise EncoderRefused(f"{origin}: {name} holds NaN or infinity; the training run diverged")


def _resnet18(stem: str) -> nn.Module:
    from torchvision.models import resnet18  # here: it brings torch's compiler along, a second and a half

    network: nn.Module = resnet18(weights=None)
    network.fc = nn.Identity()
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")  # as the other convolutions
        network.maxpool = nn.Identity()
    return network


def _efficientnet_lite0() -> nn.Module:
    blocks: list[nn.Module] = []
    given = 32
    for many, kernel, stride, widen, made in _LITE0:
        for number in range(many):
            blocks.append(_Inverted(given, made, kernel, 1 if number else stride, widen))
            given = made
    parts = {"stem": _convolution(3, 32, 3, 2), "blocks": nn.Sequential(*blocks), "head": _convolution(given, 1280, 1)}
    return nn.Sequential(OrderedDict[str, nn.Module](parts, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))


class _Inverted(nn.Module):
    """Widen, convolve each channel on its own, narrow; past it where the shapes allow (Sandler et al. 2018)."""

    def __init__(self, given: int, made: int, kernel: int, stride: int, widen: int) -> None:
        super().__init__()
        wide = given * widen
        self.expand = _convolution(given, wide, 1) if widen > 1 else nn.Identity()
        self.deep = _convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _convolution(wide, made, 1)[:-1]  # linear
        self.past = stride == 1 and given == made

    def forward(self, maps: Tensor) -> Tensor:
        made: Tensor = self.project(self.deep(self.expand(maps)))
        return maps + made if self.past else made


def _convolution(given: int, made: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Padded as TensorFlow does on even sides: an odd row and column to spare go to the far end."""
    spare = kernel - stride
    return nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)) if spare % 2 else nn.Identity(),
        nn.Conv2d(given, made, kernel, stride, max(0, spare // 2), groups=groups, bias=False),
        nn.BatchNorm2d(made, eps=1e-3, momentum=0.01),
        nn.ReLU6(inplace=True),
    )


def _squares(images: Sequence[bytes], size: int, geometry: str, start: int) -> npt.NDArray[np.uint8]:
    out = np.empty((len(images), size, size, 3), np.uint8)
    for row, data in enumerate(images):
        try:
            out[row] = square(data, size, geometry)
        except ValueError as error:
            raise ValueError(f"image {start + row}: {error}") from None
    return out


def _cut(opened: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    opened.draft("RGB", (2 * size, 2 * size))  # a JPEG is decoded at reduced scale, never below twice the wanted size
    image = _rgb(ImageOps.exif_transpose(opened))
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _pad(opened: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    long, short = max(opened.size), min(opened.size)
    least = 2 * max(1, round(size * short / long))
    opened.draft("RGB", (least, least))
    image = _rgb(ImageOps.exif_transpose(opened))
    width, height = (min(size, max(1, round(side * size / max(image.size)))) for side in image.size)
    sheet = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0))
    axis = 1 if height == size else 0
    before = (size - sheet.shape[axis]) // 2
    parts = [sheet]
    for place, count in ((0, before), (-1, size - sheet.shape[axis] - before)):
        colour = np.median(sheet.take(place, axis), axis=0).astype(np.uint8)
        band = np.broadcast_to(colour, (size, count, 3) if axis else (count, size, 3))
        parts = [*parts, band] if place else [band, *parts]
    return np.concatenate(parts, axis)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey to white
        grey = np.asarray(image, dtype=np.float64) / 257
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:  # a cut-out plant lies on white paper
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _compare(found: set[str], due: set[str], path: Path) -> None:
    for names, what in ((due - found, "missing"), (found - due, "not of this encoder")):
        if names:
            shown = ", ".join(sorted(names)[:3])
            raise EncoderRefused(f"{path}: {len(names)} tensors are {what}, among them {shown}")


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"key {key!r} stands twice")
        tree[key] = value
    return tree


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")

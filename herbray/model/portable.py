"""The encoder without herbray: network, preprocessing and strict loading in one file that travels with the weights.

A registered model contains a copy of this file, so that people who have torch but not herbray get the same numbers.
The file must not import herbray.
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

WEIGHTS_FILE: Final = "encoder.safetensors"
"""File of the parameters and running statistics."""

CARD_FILE: Final = "encoder.json"
"""File of the encoder card: all other facts about the encoder."""

FORMATS: Final = ("JPEG", "PNG")
"""Formats that Pillow may decode; its other decoders never see untrusted bytes."""

Arch = Literal["resnet18", "efficientnet_lite0"]
"""Architectures: He et al. 2016, as in the study; Tan and Le 2019, the variant without squeeze-and-excitation."""

DIMS: Final[dict[str, int]] = {"resnet18": 512, "efficientnet_lite0": 1280}
"""Length of the feature vector of each architecture."""

STEMS: Final = ("standard", "cifar")
"""`standard`: 7×7 convolution of stride 2, max-pool. `cifar`: 3×3 of stride 1, no pool (for 32 px images)."""

GEOMETRIES: Final = ("crop", "pad")
"""How an image is made square: crop its long side, or add bands of the paper's colour to its short side."""

SIZES: Final = range(16, 2049)
"""Input sides in pixels that an encoder may declare."""

DIGEST_KEY: Final = "sha256"
"""Key of the card that holds the digest of its other keys."""

MAX_CARD_BYTES: Final = 8 * 2**20
"""Largest card that is read; 100,000 genera take about 2 MB."""

_REMEDY: Final = "re-run the job that wrote it, or pull it again"
_MAX_HEADER_BYTES: Final = 2**20  # allowance for the header of a weights file
_MEAN_AND_STD: Final = {  # mean and standard deviation that the published weights expect, RGB in [0, 1]
    "resnet18": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "efficientnet_lite0": ((127 / 255,) * 3, (128 / 255,) * 3),
}
_LITE0_STAGES: Final = (  # blocks, kernel, stride of the first block, expansion, channels
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
    """The files are not an encoder that this version can read, or do not match the encoder."""


class Encoder(nn.Module):
    """A network up to its average pool: maps square images to feature vectors of length `dim`.

    Attributes:
        arch: name of the architecture, see `Arch`.
        stem: first layers of ResNet-18, see `STEMS`.
        normalise: whether `forward` normalises by the mean and deviation that ImageNet weights expect.
        size: side of the input in pixels.
        geometry: how `embed` makes an image square, as in training; see `square`.
        dim: length of a feature vector.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, arch: str = "resnet18", stem: str = "standard", normalise: bool = True, size: int = 256) -> None:
        """Build the network with torch's default start weights.

        Raises:
            EncoderRefused: the architecture or stem is unknown, or the size is outside `SIZES`.
        """
        super().__init__()
        if arch not in DIMS or stem not in STEMS or size not in SIZES:
            raise EncoderRefused(
                f"arch={arch!r}, stem={stem!r}, size={size!r}: choose from {', '.join(DIMS)}; {', '.join(STEMS)}; "
                f"{SIZES[0]} to {SIZES[-1]} px"
            )
        self.arch, self.stem, self.normalise, self.size, self.dim = arch, stem, normalise, size, DIMS[arch]
        self.geometry = "crop"
        if arch != "resnet18" and stem != "standard":
            raise EncoderRefused(f"arch={arch!r} needs a standard stem, not {stem!r}")
        self.network = _make_resnet18(stem) if arch == "resnet18" else _make_efficientnet_lite0()
        # Constants, not state: they move to the module's device but are not saved with the weights.
        mean, std = _MEAN_AND_STD[arch]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Compute features of images.

        Args:
            images: Float [n, 3, size, size], RGB in [0, 1].

        Returns:
            Float [n, dim].

        Raises:
            ValueError: the images have another shape, or are not floating point.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, self.size, self.size):
            raise ValueError(
                f"images have shape {tuple(images.shape)}; this encoder expects [n, 3, {self.size}, {self.size}]: "
                f"resize them, or build an encoder with size={images.shape[-1] if images.ndim else '…'}"
            )
        if not images.is_floating_point():
            raise ValueError(
                f"images are {images.dtype}; give floats in [0, 1] (`herbray.model.augment.prepare_images`)"
            )
        if self.normalise:
            images = (images - self.mean) / self.std
        features: Tensor = self.network(images)
        return features

    def embed(self, images: Sequence[bytes], batch: int = 64) -> npt.NDArray[np.float32]:
        """Compute features of encoded images, in evaluation mode, without gradient.

        Args:
            images: n JPEG or PNG files as bytes, of any size; see `square`.
            batch: number of decoded images in memory at a time.

        Returns:
            Float32 [n, dim].

        Raises:
            ValueError: an image cannot be decoded; the message gives its index.
        """
        mode, device = self.training, next(self.parameters()).device
        out = np.empty((len(images), self.dim), np.float32)
        self.eval()
        try:
            for start in range(0, len(images), batch):
                pixels = _decode_squares(images[start : start + batch], self.size, self.geometry, start)
                with torch.inference_mode():
                    scaled = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
                    out[start : start + len(pixels)] = self(scaled).float().cpu().numpy()
        finally:
            self.train(mode)
        return out


def decode_square(data: bytes, size: int, geometry: str = "crop") -> npt.NDArray[np.uint8]:
    """Decode an image, turn it upright, scale its short side to `size` pixels (antialiased) and crop the centre.

    With `geometry="pad"` the long side is scaled to `size`, and bands in the median colour of the adjacent edge make
    the image square.

    Returns:
        UInt8 [size, size, 3], RGB.

    Raises:
        ValueError: the image is neither JPEG nor PNG, is damaged, or has so many pixels that it may be an attack.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings(
                "ignore", category=UserWarning, module="PIL"
            )  # ignore malformed EXIF: only the pixels matter
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                return _pad_to_square(opened, size) if geometry == "pad" else _crop_to_square(opened, size)
    except UnidentifiedImageError:
        raise ValueError(f"the data is neither {' nor '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"the image is too large: {error}") from None
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, OverflowError, EOFError) as error:
        raise ValueError(f"the image cannot be decoded: {error}") from None


def load(folder: str | Path) -> Encoder:
    """Read an encoder from `encoder.safetensors` and `encoder.json`, without running code from either.

    Returns:
        The encoder, in evaluation mode, on the CPU.

    Raises:
        EncoderRefused: a file is missing, too large or malformed, or the two files do not match.
    """
    card = read_card(folder)
    kinds = {"arch": str, "stem": str, "normalise": bool, "size": int}
    for key, kind in kinds.items():
        if type(card.get(key)) is not kind:
            raise EncoderRefused(f"{Path(folder) / CARD_FILE}: {key} is {card.get(key)!r}, not a {kind.__name__}")
    encoder = Encoder(**{key: card[key] for key in kinds})
    encoder.geometry = card.get("geometry", "crop")  # cards of earlier versions lack the key
    if encoder.geometry not in GEOMETRIES:
        raise EncoderRefused(
            f"{Path(folder) / CARD_FILE}: geometry is {encoder.geometry!r}, not {' or '.join(GEOMETRIES)}"
        )
    load_weights(encoder, Path(folder) / WEIGHTS_FILE, card.get("weights", ""))
    return encoder.eval()


def read_card(folder: str | Path) -> dict[str, Any]:
    """Read `encoder.json` of a folder: strict JSON, a single mapping, no repeated keys.

    Returns:
        The card without its digest. Cards of earlier versions have no digest.

    Raises:
        EncoderRefused: the card is missing, larger than `MAX_CARD_BYTES`, malformed, or changed since it was written.
    """
    path = Path(folder) / CARD_FILE
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise EncoderRefused(f"{path}: {path.stat().st_size:,} bytes; a card may have at most {MAX_CARD_BYTES:,}")
        tree = json.loads(
            path.read_text("utf-8"), object_pairs_hook=_refuse_repeated_keys, parse_constant=_refuse_constant
        )
    except FileNotFoundError:
        raise EncoderRefused(
            f"{path}: no such file; an encoder is a folder with {WEIGHTS_FILE} and {CARD_FILE}"
        ) from None
    except EncoderRefused:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise EncoderRefused(f"{path}: not a readable card ({error})") from None
    if not isinstance(tree, dict):
        raise EncoderRefused(f"{path}: a card is a mapping of keys, not a {type(tree).__name__}")
    if tree.pop(DIGEST_KEY, None) not in (None, card_digest(tree)):
        raise EncoderRefused(f"{path}: damaged, it was changed since it was written; {_REMEDY}")
    return tree


def card_digest(tree: dict[str, Any]) -> str:
    """Compute the SHA-256 of a card without its digest: 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def load_weights(encoder: Encoder, path: Path, sha256: str = "") -> None:
    """Load the weights of an encoder from a safetensors file that holds exactly its tensors.

    Names, shapes and types are checked against the file's header before any tensor is read.

    Args:
        encoder: encoder that receives the weights.
        path: path of the file.
        sha256: SHA-256 of the file, from its card; empty for cards of earlier versions, which lack it.

    Raises:
        EncoderRefused: the file is missing or damaged, or a tensor is missing, unexpected, of another shape or type, or
            not finite.
    """
    wanted = encoder.state_dict()
    limit = sum(t.numel() * t.element_size() for t in wanted.values()) + _MAX_HEADER_BYTES
    try:
        if path.stat().st_size > limit:
            raise EncoderRefused(f"{path}: {path.stat().st_size:,} bytes; {encoder.arch} has at most {limit:,}")
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            _check_names(names, set(wanted), path)
            for name, tensor in wanted.items():
                part = file.get_slice(name)
                found, due = (part.get_dtype(), part.get_shape()), (_DTYPES[tensor.dtype], list(tensor.shape))
                if found != due:
                    raise EncoderRefused(f"{path}: {name} is {found[0]} {found[1]}; expected {due[0]} {due[1]}")
            tensors = {name: file.get_tensor(name) for name in wanted}
        if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise EncoderRefused(f"{path}: damaged, it was changed since it was written; {_REMEDY}")
    except FileNotFoundError:
        raise EncoderRefused(
            f"{path}: no such file; an encoder is a folder with {WEIGHTS_FILE} and {CARD_FILE}"
        ) from None
    except (OSError, SafetensorError) as error:
        raise EncoderRefused(f"{path}: not a readable safetensors file ({error})") from None
    check_finite(tensors, path)
    encoder.load_state_dict(tensors, strict=True)


def check_finite(tensors: dict[str, Tensor], origin: object) -> None:
    """Raise `EncoderRefused` on the first tensor that holds NaN or infinity."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise EncoderRefused(f"{origin}: {name} holds NaN or infinity; the training run diverged")


def _make_resnet18(stem: str) -> nn.Module:
    from torchvision.models import resnet18  # imported here: it loads torch's compiler, which takes 1.5 s

    network: nn.Module = resnet18(weights=None)
    network.fc = nn.Identity()
    if stem == "cifar":
        network.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")  # as the other convolutions
        network.maxpool = nn.Identity()
    return network


def _make_efficientnet_lite0() -> nn.Module:
    blocks: list[nn.Module] = []
    given = 32
    for many, kernel, stride, widen, made in _LITE0_STAGES:
        for number in range(many):
            blocks.append(_InvertedResidual(given, made, kernel, 1 if number else stride, widen))
            given = made
    parts = {
        "stem": _make_convolution(3, 32, 3, 2),
        "blocks": nn.Sequential(*blocks),
        "head": _make_convolution(given, 1280, 1),
    }
    return nn.Sequential(OrderedDict[str, nn.Module](parts, pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten()))


class _InvertedResidual(nn.Module):
    """Inverted residual block (Sandler et al. 2018): expand, convolve per channel, project; skip if shapes allow."""

    def __init__(self, given: int, made: int, kernel: int, stride: int, widen: int) -> None:
        super().__init__()
        wide = given * widen
        self.expand = _make_convolution(given, wide, 1) if widen > 1 else nn.Identity()
        self.deep = _make_convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _make_convolution(wide, made, 1)[:-1]  # linear
        self.past = stride == 1 and given == made

    def forward(self, maps: Tensor) -> Tensor:
        made: Tensor = self.project(self.deep(self.expand(maps)))
        return maps + made if self.past else made


def _make_convolution(given: int, made: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Make a convolution padded as in TensorFlow: if the padding is odd, the extra row and column go to the far end."""
    spare = kernel - stride
    return nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)) if spare % 2 else nn.Identity(),
        nn.Conv2d(given, made, kernel, stride, max(0, spare // 2), groups=groups, bias=False),
        nn.BatchNorm2d(made, eps=1e-3, momentum=0.01),
        nn.ReLU6(inplace=True),
    )


def _decode_squares(images: Sequence[bytes], size: int, geometry: str, start: int) -> npt.NDArray[np.uint8]:
    out = np.empty((len(images), size, size, 3), np.uint8)
    for row, data in enumerate(images):
        try:
            out[row] = decode_square(data, size, geometry)
        except ValueError as error:
            raise ValueError(f"image {start + row}: {error}") from None
    return out


def _crop_to_square(opened: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    opened.draft("RGB", (2 * size, 2 * size))  # decodes a JPEG at reduced scale, at least twice the target size
    image = _to_rgb(ImageOps.exif_transpose(opened))
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _pad_to_square(opened: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    long, short = max(opened.size), min(opened.size)
    least = 2 * max(1, round(size * short / long))
    opened.draft("RGB", (least, least))
    image = _to_rgb(ImageOps.exif_transpose(opened))
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


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # Pillow would clip 16-bit grey to white
        grey = np.asarray(image, dtype=np.float64) / 257
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:  # transparent areas become white paper
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _check_names(found: set[str], due: set[str], path: Path) -> None:
    for names, what in ((due - found, "missing"), (found - due, "not part of this encoder")):
        if names:
            shown = ", ".join(sorted(names)[:3])
            raise EncoderRefused(f"{path}: {len(names)} tensors are {what}, among them {shown}")


def _refuse_repeated_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"key {key!r} occurs twice")
        tree[key] = value
    return tree


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")

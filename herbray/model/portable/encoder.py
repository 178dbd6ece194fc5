"""The encoder: an architecture's network with its normalisation, and the way from image files to embeddings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .architectures import find_architecture
from .files import CARD_FILE, WEIGHTS_FILE, check_header, load_weights, read_card
from .refusal import EncoderRefused
from .squares import GEOMETRIES, decode_squares

SIZES: Final = range(16, 2049)
"""Input sides in pixels that an encoder may declare."""


class Encoder(nn.Module):
    """A network up to its average pool: maps square images to feature vectors of length `dim`.

    Attributes:
        arch: name of the architecture, see `find_architecture`.
        architecture: its facts.
        stem: first layers, one of the architecture's `stems`.
        normalise: whether `forward` normalises by the mean and deviation that ImageNet weights expect.
        size: side of the input in pixels.
        geometry: how `embed` makes an image square, as in training; see `decode_square`.
        dim: length of a feature vector.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, arch: str = "resnet18", stem: str = "standard", normalise: bool = True, size: int = 256) -> None:
        """Build the network with torch's default start weights.

        Raises:
            EncoderRefused: the architecture or stem is unknown, or the architecture cannot take the size.
        """
        super().__init__()
        if size not in SIZES:
            raise EncoderRefused(f"size={size!r}: choose from {SIZES[0]} to {SIZES[-1]} px")
        self.architecture = find_architecture(arch)
        self.architecture.check(stem, size)
        self.arch, self.stem, self.normalise, self.size, self.dim = arch, stem, normalise, size, self.architecture.dim
        self.geometry = "crop"
        self.network = self.architecture.build(stem, size)
        # Constants, not state: they move to the module's device but are not saved with the weights.
        self.register_buffer("mean", torch.tensor(self.architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.architecture.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Compute features of images.

        Args:
            images: Float [n, 3, size, size], RGB in [0, 1]. In training mode, another side is allowed.

        Returns:
            Float [n, dim].

        Raises:
            ValueError: the images have another shape, or are not floating point.
        """
        side = images.shape[-1] if self.training and images.ndim else self.size
        if images.ndim != 4 or tuple(images.shape[1:]) != (3, side, side):
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
            images: n JPEG or PNG files as bytes, of any size; see `decode_square`.
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
                pixels = decode_squares(images[start : start + batch], self.size, self.geometry, start)
                with torch.inference_mode():
                    scaled = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255
                    out[start : start + len(pixels)] = self(scaled).float().cpu().numpy()
        finally:
            self.train(mode)
        return out


def build_for(path: Path, arch: str, stem: str, normalise: bool, size: int) -> Encoder:
    """Build the encoder of a weights file, after a comparison with an outline: a card may name a huge network.

    Args:
        path: of the weights file.
        arch: see `Encoder`, like the others.
        stem: see `Encoder`.
        normalise: see `Encoder`.
        size: see `Encoder`.

    Raises:
        EncoderRefused: the file does not hold this encoder's tensors; see `Encoder`.
    """
    with torch.device("meta"):  # takes no memory
        check_header(Encoder(arch, stem, normalise, size).state_dict(), path)
    return Encoder(arch, stem, normalise, size)


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
    weights = Path(folder) / WEIGHTS_FILE
    encoder = build_for(weights, **{key: card[key] for key in kinds})
    encoder.geometry = card.get("geometry", "crop")  # cards of earlier versions lack the key
    if encoder.geometry not in GEOMETRIES:
        raise EncoderRefused(
            f"{Path(folder) / CARD_FILE}: geometry is {encoder.geometry!r}, not {' or '.join(GEOMETRIES)}"
        )
    load_weights(encoder, weights, card.get("weights", ""))
    return encoder.eval()

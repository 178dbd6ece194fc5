"""The encoder without herbray: network, preprocessing and strict loading in one folder that travels with the weights.

A registered model contains a copy of this folder, so that people who have torch but not herbray get the same numbers.
Its modules must not import the rest of herbray, and import each other by relative names.
"""

from .architectures import ARCHITECTURES, DEFAULT_ARCHITECTURE, Architecture, find_architecture
from .encoder import SIZES, Encoder, build_for, load
from .files import (
    CARD_FILE,
    DIGEST_KEY,
    MAX_CARD_BYTES,
    WEIGHTS_FILE,
    card_digest,
    check_finite,
    load_weights,
    read_card,
)
from .refusal import EncoderRefused
from .squares import FORMATS, GEOMETRIES, decode_square

__all__ = [
    "ARCHITECTURES",
    "CARD_FILE",
    "DEFAULT_ARCHITECTURE",
    "DIGEST_KEY",
    "FORMATS",
    "GEOMETRIES",
    "MAX_CARD_BYTES",
    "SIZES",
    "WEIGHTS_FILE",
    "Architecture",
    "Encoder",
    "EncoderRefused",
    "build_for",
    "card_digest",
    "check_finite",
    "decode_square",
    "find_architecture",
    "load",
    "load_weights",
    "read_card",
]

"""herbray: an archive of pressed plants turned into representations that serve a curator's three jobs."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (PEP 562: `herbray.load_encoder` without importing torch for everyone)
    if name == "load_encoder":
        from herbray.tracking import load_encoder

        return load_encoder
    raise AttributeError(f"module 'herbray' has no attribute {name!r}")

"""herbray: learns representations of herbarium sheets and evaluates them on three tasks of curators."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  (PEP 562: torch is imported only if `herbray.load_encoder` is used)
    if name == "load_encoder":
        from herbray.tracking import load_encoder

        return load_encoder
    raise AttributeError(f"module 'herbray' has no attribute {name!r}")

"""herbray: learns representations of herbarium sheets and evaluates them on three tasks of curators."""

import importlib
from typing import Any, Final

__version__ = "0.1.0"
__all__ = ["__version__", "load_encoder", "load_index"]

_HOMES: Final = {"load_encoder": "herbray.tracking", "load_index": "herbray.flow.search.index"}
"""Function → its module, which is imported when the function is used: `import herbray` does not import torch."""


def __getattr__(name: str) -> Any:  # noqa: ANN401  (PEP 562)
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'herbray' has no attribute {name!r}")

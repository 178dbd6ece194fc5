"""The code of a registered version: MLflow runs this file without herbray; herbray never imports it.

MLflow calls this a model from code. It may import only the requirements of the version.
"""

import base64
import importlib.util
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import mlflow.models
import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ServedEncoder(PythonModel):
    """JPEG files in, embeddings out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the encoder with the package that was registered with it."""
        portable = _import(Path(context.artifacts["portable"]))
        self._encoder = portable.load(Path(context.artifacts["weights"]).parent)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Embed sheets.

        Args:
            context: unused.
            model_input: a column `jpeg` of JPEG files, as bytes or base64 text.
            params: unused.

        Returns:
            float32 [n, dim].
        """
        embeddings: np.ndarray = self._encoder.embed([_bytes(value) for value in model_input["jpeg"]])
        return embeddings


def _import(folder: Path) -> ModuleType:
    """Import a package from a folder under a unique name, so that two versions in one process keep their own code."""
    name = f"portable_{uuid.uuid4().hex}"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder}: not a Python package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its modules import each other by relative names
    spec.loader.exec_module(module)
    return module


def _bytes(value: str | bytes) -> bytes:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else bytes(value)


mlflow.models.set_model(ServedEncoder())

"""The files of a registered version: the two encoder files, and an MLflow pyfunc model that runs without herbray."""

import hashlib
import importlib.metadata
import importlib.util
import io
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

WEIGHTS: Final = "encoder.safetensors"
ENCODER_CARD: Final = "encoder.json"
ENCODER_FILES: Final = (WEIGHTS, ENCODER_CARD)
ARTIFACTS_FOLDER: Final = "artifacts"
"""The folder in which a registered version keeps `ENCODER_FILES`, named by MLflow's pyfunc models."""

_REQUIREMENTS: Final = ("mlflow", "numpy", "torch", "torchvision", "pillow", "safetensors", "psutil")


def encoder_digest(folder: Path) -> str:
    """SHA-256 over the two encoder files, in hexadecimal: identifies the content of a version."""
    whole = hashlib.sha256()
    for file in ENCODER_FILES:
        with (folder / file).open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def write_package(
    package: Path, folder: Path, dim: int, card: str, run_id: str, model_id: str, requires: Sequence[str] = ()
) -> None:
    """Write a folder that `mlflow.pyfunc.load_model` can load without herbray.

    `mlflow.pyfunc` saves the model as code, so nothing is pickled: `served.py` of this package loads the folder
    `portable` of herbray.model, which reads the two encoder files.

    Args:
        package: the folder to create.
        folder: contains the two encoder files.
        dim: length of an embedding.
        card: the model card in Markdown, written as README.md.
        run_id: the run that trained the encoder.
        model_id: MLflow's identifier of the logged model.
        requires: packages of the encoder's architecture, beside those that every encoder needs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow warns about its own type hints when imported
        import mlflow.pyfunc
        from mlflow.models import Model

    with tempfile.TemporaryDirectory() as temporary:
        mlflow.pyfunc.save_model(
            package,
            python_model=str(Path(__file__).with_name("served.py")),
            artifacts={
                "weights": str(folder / WEIGHTS),
                "card": str(folder / ENCODER_CARD),
                "portable": str(_copy_portable(Path(temporary))),
            },
            signature=_signature(dim),
            input_example=_input_example(),
            pip_requirements=_requirements(requires),
            mlflow_model=Model(run_id=run_id, model_id=model_id),
        )
    _strip_local_paths(package / "MLmodel")
    (package / "README.md").write_text(card, encoding="utf-8")


def _strip_local_paths(description: Path) -> None:
    """Keep only paths within the package: MLflow also records the source path of each file on this machine."""
    from mlflow.models import Model

    model = Model.load(str(description))
    flavour = model.flavors["python_function"]
    flavour["model_code_path"] = Path(flavour["model_code_path"]).name
    for artifact in flavour["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.save(str(description))


def _copy_portable(folder: Path) -> Path:
    """Copy the sources of `herbray.model.portable`, found without importing torch, without compiled files."""
    spec = importlib.util.find_spec("herbray.model.portable")
    if spec is None or spec.origin is None:
        raise RuntimeError("herbray.model.portable is not a folder; install herbray unzipped")
    return Path(
        shutil.copytree(Path(spec.origin).parent, folder / "portable", ignore=shutil.ignore_patterns("__pycache__"))
    )


def _signature(dim: int) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    return ModelSignature(
        inputs=Schema([ColSpec("binary", "jpeg")]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, dim))]),
    )


def _input_example() -> dict[str, list[bytes]]:
    """One blank sheet, shown by MLflow as an example of how to call the model."""
    stream = io.BytesIO()
    Image.new("RGB", (48, 72), (226, 220, 200)).save(stream, "JPEG")
    return {"jpeg": [stream.getvalue()]}


def _requirements(more: Sequence[str]) -> list[str]:
    """The required packages at their installed versions, without addresses or local suffixes such as `+cu128`."""
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in (*_REQUIREMENTS, *more)]

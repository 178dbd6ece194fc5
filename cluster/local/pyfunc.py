"""Embeds one sheet with a registered model: `ask` by herbray, `predict` by pyfunc in an environment without it.

python pyfunc.py ask|predict MODEL FOLDER

`ask` writes what the model requires into FOLDER/requirements.txt. Both print the vectors as JSON.
"""

import importlib.metadata
import importlib.util
import io
import json
import shutil
import sys
from pathlib import Path


def draw() -> bytes:
    """A sheet with a leaf-green patch."""
    from PIL import Image

    stream, sheet = io.BytesIO(), Image.new("RGB", (48, 72), (226, 220, 200))
    sheet.paste((60, 110, 50), (12, 20, 36, 52))
    sheet.save(stream, "JPEG")
    return stream.getvalue()


def ask(model: str, folder: Path) -> list[list[float]]:
    """By herbray, which reads two files and runs none of the model's code."""
    import mlflow.pyfunc

    import herbray

    shutil.copy(mlflow.pyfunc.get_model_dependencies(model), folder / "requirements.txt")
    return herbray.load_encoder(model).embed([draw()]).tolist()


def predict(model: str) -> list[list[float]]:
    """By MLflow."""
    if importlib.util.find_spec("herbray") is not None:
        raise SystemExit("herbray can be imported here: this would prove nothing")
    import mlflow.pyfunc
    import pandas

    return mlflow.pyfunc.load_model(model).predict(pandas.DataFrame({"jpeg": [draw()]})).tolist()


if __name__ == "__main__":
    action, model, folder = sys.argv[1:]
    vectors = ask(model, Path(folder)) if action == "ask" else predict(model)
    print(json.dumps({"vectors": vectors, "packages": len(list(importlib.metadata.distributions()))}))

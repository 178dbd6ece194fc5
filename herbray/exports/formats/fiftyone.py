"""All sheets with images as a dataset of FiftyOne, in its legacy JSON layout, which needs no copy of the images.

The layout is that of `fiftyone.types.LegacyFiftyOneDataset`: `metadata.json` and `samples.json` in one folder.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any, Final

from herbray.exports.batch import Batch, Written
from herbray.exports.viewers import VIEW, view_sheets
from herbray.storage import write_text

NO_FILE: Final = "no image on this machine"

_TEXTS: Final = [name for name in VIEW.names if VIEW.field(name).type == "string" and name != "image"]
_LABELS: Final = {"given": "given_probability", "suggested": "suggested_probability"}
"""Field that is a classification → the column with its confidence."""


def write(batch: Batch, folder: Path) -> Written:
    """Write the folder `fiftyone`."""
    path, samples = folder / "fiftyone", []
    left_out: Counter[str] = Counter()
    for row in view_sheets(batch):
        if row["image"] and "://" not in row["image"]:
            samples.append(_describe_sample(row))
        else:
            left_out[NO_FILE] += 1
    info = {"title": batch.title, "software": batch.software, "encoder": batch.encoder, "batch": batch.id}
    write_text(path / "samples.json", json.dumps({"samples": samples}, ensure_ascii=False, allow_nan=False))
    write_text(path / "metadata.json", json.dumps({"media_type": "image", "info": info}, ensure_ascii=False))
    return Written(path, len(samples), "samples", left_out)


def _describe_sample(row: dict[str, Any]) -> dict[str, Any]:
    texts = {name: row[name] for name in _TEXTS if name not in _LABELS and row[name]}
    labels = {
        name: {"_cls": "Classification", "label": row[name], "confidence": row[confidence], "tags": []}
        for name, confidence in _LABELS.items()
        if row[name]
    }
    tags = [row["status"]] if row["status"] else []
    return {"filepath": str(Path(row["image"]).absolute()), "tags": tags, **texts, **labels}

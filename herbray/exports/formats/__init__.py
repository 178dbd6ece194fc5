"""The formats: a new one is a file in this folder and a line here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from herbray.exports.batch import Batch, Written
from herbray.exports.formats import (
    brahms,
    darwin_core,
    embedding_atlas,
    fiftyone,
    open_ds,
    specify,
    symbiota,
    web_annotations,
)


@dataclass(frozen=True)
class Format:
    """A form that another program loads.

    Attributes:
        write: writes the file or folder into a folder.
        needs_features: whether it needs the embeddings of all sheets.
    """

    write: Callable[[Batch, Path], Written]
    needs_features: bool = False


FORMATS: Final = {
    "symbiota": Format(symbiota.write),
    "darwin-core": Format(darwin_core.write),
    "web-annotations": Format(web_annotations.write),
    "dissco": Format(open_ds.write),
    "specify": Format(specify.write),
    "brahms": Format(brahms.write),
    "embedding-atlas": Format(embedding_atlas.write, needs_features=True),
    "fiftyone": Format(fiftyone.write),
}
"""Name of a format → what writes it."""

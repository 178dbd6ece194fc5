"""Tiny sheets that carry their genus faintly, and wrong names among them."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import simplejpeg

from herbray import schema, storage, tables
from herbray.data import catalogue
from herbray.data.draws import draw_numbers
from herbray.data.sorted_codes import encode_sorted

_SIDE: Final = 40
_GENUS: Final = 20.0  # amplitude of what the sheets of a genus share, of 255
_OWN: Final = 35.0  # of what each sheet has for itself
_WRONG: Final = 0.02  # share of sheets with a wrong name


def plant_wrong_names(folder: Path, seed: int) -> None:
    """Give some sheets of a catalogue the names of another sheet; `true_species` keeps the true name of each."""
    table = catalogue.read(folder)
    chosen = draw_numbers(seed, "wrong name", table["specimen_id"].to_pylist()) < _WRONG * 2.0**64
    other = np.where(chosen, np.random.default_rng(seed).permutation(len(table)), np.arange(len(table)))
    truth = table["species"]
    for name in schema.RANKS:
        table = table.set_column(table.column_names.index(name), name, table[name].take(pa.array(other)))
    table = table.set_column(table.column_names.index("true_species"), "true_species", truth)
    manifest = catalogue.read_manifest(folder)
    manifest |= {"fingerprint": catalogue.fingerprint(table, manifest["root"])}
    tables.write(folder / catalogue.CATALOGUE_FILE, table)
    storage.write_note(folder / catalogue.MANIFEST_FILE, manifest)


def draw_sheets(table: pa.Table, seed: int) -> int:
    """Draw the images of a catalogue's rows; return how many.

    A sheet is a coarse pattern of its true genus under a stronger one of its own, so that a genus can be learned, but
    not read off.
    """
    genus, _ = encode_sorted(pc.list_element(pc.split_pattern(table["true_species"], " ", max_splits=1), 0))
    made: set[Path] = set()
    for number, (image, kind) in enumerate(zip(table["image"].to_pylist(), genus.tolist(), strict=True)):
        path = Path(image)
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes(_draw(number, kind, seed))
    return len(table)


def _draw(number: int, genus: int, seed: int) -> bytes:
    shared = np.random.default_rng([seed, 1, genus]).standard_normal((4, 4, 3)) * _GENUS
    own = np.random.default_rng([seed, 2, number]).standard_normal((10, 10, 3)) * _OWN
    pixels: Any = 128 + np.kron(shared, np.ones((10, 10, 1))) + np.kron(own, np.ones((4, 4, 1)))
    jpeg: bytes = simplejpeg.encode_jpeg(np.clip(pixels, 0, 255).astype(np.uint8), quality=80)
    return jpeg

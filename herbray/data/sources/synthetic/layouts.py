"""Layouts of the synthetic sheets on disk: those of the real sources, so that these sources can read the sheets."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

from herbray import storage
from herbray.data.imaging.boxes import format_boxes
from herbray.data.sources.synthetic.drawing.sheet import list_boxes
from herbray.data.sources.synthetic.institutions import make_herbarium
from herbray.data.sources.synthetic.specimens import Collection, Specimens, collect_specimens, collector_and_date
from herbray.schema import MASK_BOXES, MASKED_CATALOGUE
from herbray.storage import replace_file

Layout = Literal["folder", "half_earth"]
Holder = Literal["institution", "region"]

LICENSE: Final = "CC0-1.0"


def image_path(layout: Layout, specimens: Specimens, number: int) -> str:
    """Return the path of sheet `number`, relative to the herbarium's folder.

    `folder`: images/000/000123.jpg. `half_earth`: train/images/000/42/123.jpg, the two folders encode the category.
    """
    if layout == "folder":
        return f"images/{number // 1000:03d}/{number:06d}.jpg"
    category = int(specimens.named[number])
    return f"train/images/{category // 100:03d}/{category % 100:02d}/{number}.jpg"


def make_columns(
    collection: Collection, size: int, layout: Layout, start: int, stop: int
) -> dict[str, list[str | None]]:
    """Make the catalogue's columns for sheets `start` to `stop`, with image paths relative to the folder."""
    specimens = collect_specimens(collection)
    table: dict[str, list[str | None]] = {name: [] for name in MASKED_CATALOGUE.names}
    for number in range(start, stop):
        taxon = specimens.taxa[specimens.named[number]]
        owner = make_herbarium(int(specimens.institution[number]), collection.seed)
        who, when = collector_and_date(specimens, number)
        row: dict[str, str | None] = {
            "specimen_id": f"synthetic-{collection.seed}/{number:06d}",
            "image": image_path(layout, specimens, number),
            "order": taxon.order,
            "family": taxon.family,
            "genus": taxon.genus,
            "species": taxon.species,
            "institution": owner.code,
            "gathering": f"{who} {when.isoformat()}",
            "catalog_number": f"{owner.code}{number:08d}",
            "license": LICENSE,
            "rights_holder": owner.title,
            "true_species": specimens.taxa[specimens.truth[number]].species,
            MASK_BOXES: format_boxes(list_boxes(owner, number, size, collection.seed)),
        }
        for name, column in table.items():
            column.append(row.get(name))
    return table


def write_labels(folder: Path, collection: Collection, size: int, layout: Layout) -> None:
    """Write labels.csv: every catalogue column, `image` relative to `folder`; an identical file is not replaced."""

    def lines() -> Iterator[list[str | None]]:
        yield list(MASKED_CATALOGUE.names)
        for start in range(0, collection.sheets, 4096):
            table = make_columns(collection, size, layout, start, min(start + 4096, collection.sheets))
            yield from map(list, zip(*table.values(), strict=True))

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines())

    _replace_if_changed(folder / "labels.csv", write)


def write_metadata(folder: Path, collection: Collection, size: int, holder: Holder) -> None:
    """Write train/metadata.json in the format of Herbarium 2021 Half-Earth; herbaria are institutions or regions."""
    specimens = collect_specimens(collection)
    herbaria = [make_herbarium(index, collection.seed) for index in range(collection.institutions)]
    numbers = range(collection.sheets)
    sections: dict[str, Iterable[dict[str, Any]]] = {
        "annotations": (
            {
                "id": number,
                "image_id": number,
                "category_id": int(specimens.named[number]),
                f"{holder}_id": int(specimens.institution[number]),
            }
            for number in numbers
        ),
        "categories": (
            {"id": index, "name": taxon.species, "family": taxon.family, "order": taxon.order}
            for index, taxon in enumerate(specimens.taxa)
        ),
        "images": (
            {
                "id": number,
                "width": size,
                "height": herbaria[int(specimens.institution[number])].height(size),
                "file_name": image_path("half_earth", specimens, number).removeprefix("train/"),
                "license": 0,
            }
            for number in numbers
        ),
        "licenses": [{"id": 0, "name": LICENSE, "url": "https://creativecommons.org/publicdomain/zero/1.0/"}],
        f"{holder}s": ({"id": index, "name": owner.code} for index, owner in enumerate(herbaria)),
    }

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.write("{")
            for place, (name, entries) in enumerate(sections.items()):
                file.write(f'{"," if place else ""}\n"{name}": [')
                for index, entry in enumerate(entries):
                    file.write(("," if index else "") + "\n" + json.dumps(entry))
                file.write("]")
            file.write("}\n")

    _replace_if_changed(folder / "train" / "metadata.json", write)


def claim_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Mark a folder as containing the sheets of these settings.

    Raises:
        ValueError: the folder contains sheets of other settings, or other files.
    """
    mark = folder / "synthetic.json"
    text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
    if storage.is_file(mark):
        try:
            found = dict(json.loads(storage.read_bytes(mark)))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{mark} cannot be read ({error}): delete {folder} and run the command again to draw the sheets"
            ) from None
        changed = [name for name in settings if found.get(name) != settings[name]]
        if changed:
            differences = ", ".join(f"{name} {found.get(name)} → {settings[name]}" for name in changed)
            raise ValueError(
                f"{folder} contains a herbarium with other settings ({differences}): choose another path, or delete it"
            )
        return
    if storage.glob(folder, "*"):
        raise ValueError(f"{folder} is not empty and contains no synthetic herbarium: choose another path")
    storage.make_folder(folder)
    _replace_if_changed(mark, lambda path: path.write_text(text, encoding="utf-8"))


class _Unchanged(Exception):
    """The file already has the content that would be written."""


def _replace_if_changed(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, then rename it unless the existing file has the same content."""
    with suppress(_Unchanged), replace_file(path, durable=False) as new:
        write(new)
        if storage.is_file(path) and storage.read_bytes(path) == new.read_bytes():
            raise _Unchanged

"""Images that several specimens share, or have copies of: told, and kept on one side of every split."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

MOST_SPECIMENS: Final = 100
"""An image of more specimens is no photograph of a sheet: often a picture that says "no image available"."""

_MOST_NAMED: Final = 4  # gatherings that a key spells out


def join_gatherings(
    table: pa.Table, names: pa.ChunkedArray, duplicates: Sequence[pa.ChunkedArray] = ()
) -> tuple[pa.Table, list[str]]:
    """Give the specimens of one image one gathering, so that no split has the image on two sides.

    Specimens that an image, a group of duplicates or a gathering connects, also through others, get one key: their
    gatherings joined by " + ", or the name of the image if none of them has a gathering. Rows whose image is theirs
    alone stay as they are, unless a gathering connects them, and so do those of an image that more than 100 specimens
    share.

    Args:
        table: rows of a catalogue.
        names: the name of each row's image, see `herbray.data.catalogue.name_images`.
        duplicates: one or more columns, each with the key of each row's group of duplicates, or null.

    Returns:
        The table with the joined gatherings, and a sentence for the user if there are any.
    """
    coded = names.combine_chunks().dictionary_encode()
    image = coded.indices.to_numpy()
    count = np.bincount(image, minlength=len(coded.dictionary))
    placeholders = np.flatnonzero(count > MOST_SPECIMENS)
    notes = [
        f"{coded.dictionary[number].as_py()} is the image of {count[number]:,} specimens: is it a placeholder? "
        "Its specimens are not kept together in the splits"
        for number in placeholders.tolist()[:_MOST_NAMED]
    ]
    shared = (count[image] > 1) & (count[image] <= MOST_SPECIMENS)
    copies = _find_copies(duplicates, len(table))
    if not (shared | copies).any():
        return table, notes
    group = _group_rows(_separate(image, placeholders), [table["gathering"], *duplicates])
    chosen = np.isin(group, np.unique(group[shared | copies]))
    keys = _name_groups(group, chosen, table["gathering"].to_pylist(), names.to_pylist())
    joined = pa.array(keys, pa.string())
    column = pc.if_else(pa.array(chosen), joined, table["gathering"])
    place = table.schema.get_field_index("gathering")
    if several := int(((count > 1) & (count <= MOST_SPECIMENS)).sum()):
        different = _count_names(image[shared], table["species"].filter(pa.array(shared)))
        many = f"images of several specimens: {several:,} ({int(shared.sum()):,} rows"
        notes.append(f"{many}; {different:,} with different species): each image stays on one side of the splits")
    if rows := int(copies.sum()):
        notes.append(
            f"{rows:,} rows are duplicates that `herbray shard` found: each group stays on one side of the splits"
        )
    return table.set_column(place, table.schema.field(place), column), notes


def _find_copies(duplicates: Sequence[pa.ChunkedArray], rows: int) -> np.ndarray:
    """The rows that a group of duplicates connects with another row."""
    copies = np.zeros(rows, bool)
    for column in duplicates:
        coded = pc.fill_null(column.combine_chunks().dictionary_encode().indices, -1).to_numpy()
        copies |= (coded >= 0) & (np.bincount(coded + 1, minlength=1)[coded + 1] > 1)
    return copies


def _separate(image: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Give each row of some images an image of its own."""
    rows = np.flatnonzero(np.isin(image, numbers))
    separate: np.ndarray = image.astype(np.int64)
    separate[rows] = image.max() + 1 + np.arange(len(rows))
    return separate


def _group_rows(image: np.ndarray, columns: Sequence[pa.ChunkedArray]) -> np.ndarray:
    """Number the groups of rows that images and equal values of the columns connect."""
    starts, ends = [np.arange(len(image))], [image.astype(np.int64)]
    size = int(image.max()) + 1
    for column in columns:
        coded = column.combine_chunks().dictionary_encode()
        known = np.flatnonzero(coded.indices.is_valid().to_numpy(zero_copy_only=False))
        starts.append(known)
        ends.append(pc.fill_null(coded.indices, 0).to_numpy().astype(np.int64)[known] + size)
        size += len(coded.dictionary)
    links = (np.concatenate(starts) + size, np.concatenate(ends))
    graph = coo_array((np.ones(len(links[0]), np.int8), links), shape=(size + len(image),) * 2)
    numbers: np.ndarray = connected_components(graph, directed=False)[1][size:]
    return numbers


def _name_groups(
    group: np.ndarray, chosen: np.ndarray, gatherings: Sequence[str | None], images: Sequence[str]
) -> list[str | None]:
    """Return the key of each chosen row's group; None for other rows."""
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(chosen).tolist():
        members.setdefault(int(group[row]), []).append(row)
    keys: list[str | None] = [None] * len(group)
    for rows in members.values():
        known = sorted({gathering for row in rows if (gathering := gatherings[row]) is not None})
        key = _join_names(known) or f"image {min(images[row] for row in rows)}"
        for row in rows:
            keys[row] = key
    return keys


def _join_names(gatherings: Sequence[str]) -> str:
    """A key of bounded length; no other group has its first name."""
    more = len(gatherings) - _MOST_NAMED
    return " + ".join(gatherings[:_MOST_NAMED]) + (f" + {more} more" if more > 0 else "")


def _count_names(image: np.ndarray, species: pa.ChunkedArray) -> int:
    """The number of images whose specimens have different species."""
    pairs = {(number, name) for number, name in zip(image.tolist(), species.to_pylist(), strict=True) if name}
    counts = np.bincount([number for number, _ in pairs]) if pairs else np.zeros(0)
    return int((counts > 1).sum())

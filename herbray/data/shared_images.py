"""Images that several specimens share: told, and kept on one side of every split through one gathering."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def join_gatherings(table: pa.Table, names: pa.ChunkedArray) -> tuple[pa.Table, list[str]]:
    """Give the specimens of one image one gathering, so that no split has the image on two sides.

    Specimens that an image or a gathering connects, also through others, get one key: their gatherings joined by " + ",
    or the name of the image if none of them has a gathering. Rows whose image is theirs alone stay as they are, unless
    a gathering connects them.

    Args:
        table: rows of a catalogue.
        names: the name of each row's image, see `herbray.data.catalogue.name_images`.

    Returns:
        The table with the joined gatherings, and a sentence for the user if there are any.
    """
    coded = names.combine_chunks().dictionary_encode()
    image = coded.indices.to_numpy()
    count = np.bincount(image, minlength=len(coded.dictionary))
    shared = count[image] > 1
    if not shared.any():
        return table, []
    group = _group_rows(image, table["gathering"])
    chosen = np.isin(group, np.unique(group[shared]))
    keys = _name_groups(group, chosen, table["gathering"].to_pylist(), names.to_pylist())
    joined = pa.array(keys, pa.string())
    column = pc.if_else(pa.array(chosen), joined, table["gathering"])
    place = table.schema.get_field_index("gathering")
    different = _count_names(image[shared], table["species"].filter(pa.array(shared)))
    many = f"images of several specimens: {int((count > 1).sum()):,} ({int(shared.sum()):,} rows"
    note = f"{many}; {different:,} with different species): each image stays on one side of the splits"
    return table.set_column(place, table.schema.field(place), column), [note]


def _group_rows(image: np.ndarray, gatherings: pa.ChunkedArray) -> np.ndarray:
    """Number the groups of rows that images and gatherings connect."""
    gathering = gatherings.combine_chunks().dictionary_encode()
    known = gathering.indices.is_valid().to_numpy(zero_copy_only=False)
    codes = pc.fill_null(gathering.indices, 0).to_numpy() + image.max() + 1
    start = codes.max() + 1
    rows = np.arange(len(image)) + start
    ends = np.concatenate([image, codes[known]])
    starts = np.concatenate([rows, rows[known]])
    size = start + len(image)
    graph = coo_array((np.ones(len(ends), np.int8), (starts, ends)), shape=(size, size))
    numbers: np.ndarray = connected_components(graph, directed=False)[1][start:]
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
        key = " + ".join(known) or f"image {min(images[row] for row in rows)}"
        for row in rows:
            keys[row] = key
    return keys


def _count_names(image: np.ndarray, species: pa.ChunkedArray) -> int:
    """The number of images whose specimens have different species."""
    pairs = {(number, name) for number, name in zip(image.tolist(), species.to_pylist(), strict=True) if name}
    counts = np.bincount([number for number, _ in pairs]) if pairs else np.zeros(0)
    return int((counts > 1).sum())

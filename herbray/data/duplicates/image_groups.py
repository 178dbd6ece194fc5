"""Groups of specimens whose images are the same, or nearly so, from what the shards know about each image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from herbray import tables
from herbray.data.duplicates.near_pairs import find_near_pairs
from herbray.data.imaging.perceptual_hash import HASH_BYTES
from herbray.data.shared_images import MOST_SPECIMENS
from herbray.schema import DUPLICATE

DUPLICATES_FILE: Final = "duplicates.parquet"
"""Name of the table in `herbray.schema.DUPLICATE`, in the folder of the shards."""

DIGEST_BYTES: Final = 16
"""Bytes of the digest of an image, which precedes its perceptual hash."""

PRINT_BYTES: Final = DIGEST_BYTES + HASH_BYTES


def group_images(ids: Sequence[str], splits: Sequence[str], prints: bytes) -> tuple[pa.Table, list[str]]:
    """Find the images that several specimens have.

    Args:
        ids: n specimens.
        splits: their splits.
        prints: `PRINT_BYTES` bytes for each: the digest of the image in the shards, and its perceptual hash.

    Returns:
        The specimens in `herbray.schema.DUPLICATE`, by group and id; and sentences on images of more than 100
        specimens, which are no photographs of sheets and make no group.
    """
    if not ids:
        return DUPLICATE.empty_table(), []
    whole = np.frombuffer(prints, np.uint8).reshape(len(ids), PRINT_BYTES)
    digests = np.ascontiguousarray(whole[:, :DIGEST_BYTES]).view(f"V{DIGEST_BYTES}").ravel()
    _, first, image = np.unique(digests, return_index=True, return_inverse=True)
    group = _link_images(whole[first, DIGEST_BYTES:])[image]
    sizes, images = np.bincount(group), _count_images(group, image)
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero((sizes[group] > 1) & (sizes[group] <= MOST_SPECIMENS)).tolist():
        members.setdefault(int(group[row]), []).append(row)
    found = sorted(
        (min(ids[each] for each in rows), "image" if images[number] == 1 else "near_image", ids[row], splits[row])
        for number, rows in members.items()
        for row in rows
    )
    columns = zip(*found, strict=True) if found else ((),) * len(DUPLICATE)
    table = pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], schema=DUPLICATE)
    return table, [
        f"{sizes[number]:,} specimens have nearly the same image, e.g. {ids[int(np.argmax(group == number))]}: is it a "
        "placeholder? They are not listed as duplicates"
        for number in np.flatnonzero(sizes > MOST_SPECIMENS).tolist()
    ]


def read_groups(shards: Path, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The group of each specimen in the duplicates that a shards folder lists; null: none.

    Args:
        shards: the folder.
        ids: n specimens.

    Raises:
        ValueError: the list is missing or damaged.
    """
    found = tables.read(shards / DUPLICATES_FILE, f"run `herbray shard` with out={shards} again", DUPLICATE)
    return found["group"].take(pc.index_in(ids, value_set=found["specimen_id"]))


def _link_images(hashes: np.ndarray) -> np.ndarray:
    """Number the groups of images that are nearly equal, also through others."""
    distinct, place = np.unique(hashes, axis=0, return_inverse=True)
    one, other = find_near_pairs(distinct)
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(distinct),) * 2)
    numbers: np.ndarray = connected_components(graph, directed=False)[1][place.ravel()]
    return numbers


def _count_images(group: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The number of different images in each group."""
    pairs = np.unique(np.stack([group, image.ravel()], 1), axis=0)
    return np.bincount(pairs[:, 0])


def count_crossing(duplicates: pa.Table) -> int:
    """The number of groups whose specimens are in several splits."""
    pairs = set(zip(duplicates["group"].to_pylist(), duplicates["split"].to_pylist(), strict=True))
    return sum(many > 1 for many in np.unique([group for group, _ in pairs], return_counts=True)[1].tolist())

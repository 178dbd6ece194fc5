"""Which images of a catalogue exist: by one listing per folder, without opening a file."""

import os

import pyarrow as pa
import pyarrow.compute as pc


def find_absent(images: pa.ChunkedArray) -> list[str]:
    """Return the paths of images that do not exist on this machine, in their order.

    Addresses are not looked up, nor are members of zip files, which their source has found.
    """
    names: dict[str, frozenset[str]] = {}
    absent = []
    for path in pc.filter(images, pc.starts_with(images, "/")).to_pylist():
        if "!/" in path:
            continue
        parent, _, leaf = path.rpartition("/")
        if parent not in names:
            names[parent] = _list_names(parent)
        if leaf not in names[parent]:
            absent.append(path)
    return absent


def _list_names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder or "/"))
    except OSError:
        return frozenset()

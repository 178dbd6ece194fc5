"""Where Ray keeps its own notes of a training or a sweep."""

from pathlib import Path
from typing import Any

from herbray.storage import place_of
from herbray.storage.store import filesystem


def ray_storage(folder: Path) -> dict[str, Any]:
    """Arguments of Ray's `RunConfig` for a folder that all nodes share, on a disk or in a bucket."""
    place = place_of(folder)
    if place is None:
        return {"storage_path": str(folder)}
    return {"storage_path": place.path, "storage_filesystem": filesystem(place.scheme, place.bucket)}

"""Files that readers see whole or not at all, whenever the process or the machine stops."""

import os
from pathlib import Path


def replace(path: Path, temporary: Path) -> None:
    """Make a finished file visible at once: readers see the old one or the new one, never a half."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        OSError: no room; what was there is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    replace(path, temporary)

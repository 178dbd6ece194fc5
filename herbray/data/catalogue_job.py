"""The verb `catalogue`: build a catalogue, or only look at its source."""

from typing import Any

from herbray.data import catalogue
from herbray.data.catalogue import Catalogue
from herbray.data.look import look

__all__ = ["Catalogue", "run"]


def run(spec: Catalogue) -> dict[str, Any] | str:
    """Build the catalogue and return its manifest; with `look`, describe the source and return the lines.

    Raises:
        ValueError: see `herbray.data.catalogue.build`.
    """
    return look(spec) if spec.look else catalogue.build(spec)

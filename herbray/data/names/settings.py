"""The settings of names in a catalogue."""

from pathlib import Path

from pydantic import Field

from herbray.config import Spec


class Names(Spec):
    """How the names of a catalogue are read."""

    as_written: bool = Field(
        False,
        description="keep the texts of the columns genus and species as they are; for labels that are no scientific "
        "names, such as pollen types. A missing genus is still read from the species",
    )
    genera: Path | None = Field(
        None,
        description="table with the columns genus, family and order: fills families and orders that the source lacks",
    )
    synonyms: Path | None = Field(
        None, description="table with the columns name and accepted: replaces synonyms by their accepted names"
    )
    institutions: dict[str, str] = Field({}, description="other names of institutions → their codes, e.g. `{Kew: K}`")

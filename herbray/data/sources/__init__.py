"""Sources of catalogues: one module per source, and the table of all sources."""

from typing import Annotated, Final

from pydantic import Field

from herbray.data.sources.base import SourceSpec
from herbray.data.sources.darwin_core import DarwinCore
from herbray.data.sources.folder import Folder
from herbray.data.sources.half_earth import HalfEarth
from herbray.data.sources.herbarium_challenges import Herbarium2019, Herbarium2020, Herbarium2022
from herbray.data.sources.synthetic import Synthetic

SOURCES: Final[dict[str, type[SourceSpec]]] = {
    "synthetic": Synthetic,
    "folder": Folder,
    "half_earth": HalfEarth,
    "herbarium_2019": Herbarium2019,
    "herbarium_2020": Herbarium2020,
    "herbarium_2022": Herbarium2022,
    "darwin_core": DarwinCore,
}
"""Every source by its `name`; add a new source here and to `Source`."""

Source = Annotated[
    Synthetic | Folder | HalfEarth | Herbarium2019 | Herbarium2020 | Herbarium2022 | DarwinCore,
    Field(discriminator="name"),
]
"""The `source` key of a configuration: `name` chooses the class."""

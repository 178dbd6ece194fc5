"""The objectives. A new objective is a file here, plus a line in the tables of `labelled`."""

from typing import Annotated, Final

from pydantic import Field

from herbray.model.objectives.base import DataFacts, Objective, ObjectiveSpec
from herbray.model.objectives.distil import Distil
from herbray.model.objectives.labelled import LABELLED, AnyLabelled

__all__ = ["OBJECTIVES", "AnyObjective", "DataFacts", "Objective", "ObjectiveSpec"]

OBJECTIVES: Final[dict[str, type[ObjectiveSpec]]] = {**LABELLED, "distil": Distil}

AnyObjective = Annotated[AnyLabelled | Distil, Field(discriminator="name")]
"""Type of a configuration key that accepts any objective."""

"""The objectives that need only images and labels. A new one is a file here, plus a line in each of the two tables."""

from typing import Annotated, Final

from pydantic import Field

from herbray.model.objectives.arcface import Arcface
from herbray.model.objectives.autoencoder import Autoencoder
from herbray.model.objectives.base import ObjectiveSpec
from herbray.model.objectives.classifier import Classifier
from herbray.model.objectives.contrastive import Contrastive
from herbray.model.objectives.hierarchical import Hierarchical
from herbray.model.objectives.simsiam import Simsiam
from herbray.model.objectives.triplet import Triplet

LABELLED: Final[dict[str, type[ObjectiveSpec]]] = {
    "triplet": Triplet,
    "autoencoder": Autoencoder,
    "classifier": Classifier,
    "contrastive": Contrastive,
    "arcface": Arcface,
    "hierarchical": Hierarchical,
    "simsiam": Simsiam,
}

AnyLabelled = Annotated[
    Triplet | Autoencoder | Classifier | Contrastive | Arcface | Hierarchical | Simsiam, Field(discriminator="name")
]
"""Type of a configuration key that accepts any of them."""

"""True names, where they are known."""

import numpy as np

from herbray.tasks.interface.columns import Labels
from herbray.tasks.interface.embeddings import Objects


def true_names(true_species: Labels, rank: str) -> Objects:
    """The true names [n] at a rank, "genus" or "species"; None where the true name is not known."""
    if rank == "species":
        return true_species.objects()
    return np.array([None if name is None else name.split(" ")[0] for name in true_species], dtype=object)

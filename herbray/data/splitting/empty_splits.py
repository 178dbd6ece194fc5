"""Explain splits that a catalogue leaves empty, for the message that is printed if only defaults requested them."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.labels import ALL, read_labels
from herbray.data.splitting.splits import Splits

_EMPTY_SHARE: Final = "a share of {:g} selects no sheet, or leaves too few to train on"


def explain_empty_splits(catalogue: pa.Table, splits: pa.Array, spec: Splits, rank: str = "genus") -> dict[str, str]:
    """Explain why splits that the settings allow contain no specimen.

    Args:
        catalogue: catalogue that was passed to `split`.
        splits: result of `split`.
        spec: settings that were passed to `split`.
        rank: rank that was passed to `split`.

    Returns:
        Name of each empty split → the reason.
    """
    used = catalogue.filter(pc.is_valid(read_labels(catalogue, rank)))
    reasons = {
        "validation": _EMPTY_SHARE.format(spec.validation) if spec.validation else "",
        "herbarium": "" if spec.home is None else _explain_no_herbarium(used, rank),
        "species": _explain_no_species(used, rank) if spec.species else "",
        "random": _EMPTY_SHARE.format(spec.random) if spec.random else "",
    }
    present = set(pc.unique(splits).to_pylist())
    return {name: reason for name, reason in reasons.items() if reason and name not in present}


def _explain_no_herbarium(used: pa.Table, rank: str) -> str:
    institutions = sorted(set(used["institution"].to_pylist()) - {None})
    if not institutions:
        return "no sheet has an institution"
    if len(institutions) == 1:
        return f"all sheets are of one institution, {institutions[0]}"
    many = "genera" if rank == "genus" else "names"
    return f"no institution has enough training sheets of {many} that other institutions also have"


def _explain_no_species(used: pa.Table, rank: str) -> str:
    if rank in ("species", ALL):
        return "encoders are trained on species (labels.rank), so a species that training never saw has no label"
    if not pc.count_distinct(used["species"]).as_py():
        return "no sheet is identified to species"
    return f"without any one species, too few sheets of its {rank} are left to train on"

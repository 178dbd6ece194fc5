"""Splits that a catalogue cannot fill, and why: what is said where only the defaults asked for them."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.splits import Splits


def absent(catalogue: pa.Table, sides: pa.Array, spec: Splits) -> dict[str, str]:
    """The splits that the settings allow for and that hold no specimen, and why, in words.

    Args:
        catalogue: as given to `split`.
        sides: what it returned.
        spec: as given to it.
    """
    used = catalogue.filter(pc.is_valid(catalogue["genus"]))
    reasons = {
        "validation": _NO_SHARE.format(spec.validation) if spec.validation else "",
        "herbarium": "" if spec.home is None else _no_herbarium(used),
        "species": _no_species(used) if spec.species else "",
        "random": _NO_SHARE.format(spec.random) if spec.random else "",
    }
    there = set(pc.unique(sides).to_pylist())
    return {name: why for name, why in reasons.items() if why and name not in there}


_NO_SHARE: Final = "a share of {:g} holds out no sheet, or leaves too few to train on"


def _no_herbarium(used: pa.Table) -> str:
    institutions = sorted(set(used["institution"].to_pylist()) - {None})
    if not institutions:
        return "no sheet tells its institution"
    if len(institutions) == 1:
        return f"all sheets are of one institution, {institutions[0]}"
    return "no institution has enough sheets to train on by itself of genera that others have, too"


def _no_species(used: pa.Table) -> str:
    if not pc.count_distinct(used["species"]).as_py():
        return "no sheet is named to the species"
    return "without a species there are too few sheets of its genus to train on"

"""Conditions that the found sheets meet: names, herbarium, licence."""

from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BeforeValidator, Field

from herbray.config import Spec
from herbray.tasks.interface.validators import suggest_name

_LISTED: Final = 12  # values in an error message
_CHARACTERS: Final = 60  # of a value in an error message


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Values = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
"""One value or a list; a sheet has one of them."""


class Conditions(Spec):
    """Which sheets may be found: those that have one of the values in each column that is given."""

    order: Values = Field((), description="names of orders")
    family: Values = Field((), description="names of families")
    genus: Values = Field((), description="names of genera")
    species: Values = Field((), description="names of species")
    institution: Values = Field((), description="codes of herbaria")
    license: Values = Field((), description="licences, as the table has them")

    def select(self, sheets: pa.Table) -> npt.NDArray[np.bool_] | None:
        """Which rows meet the conditions; None if there is no condition.

        Raises:
            ValueError: no row does; the message says which values there are.
        """
        given = {column: getattr(self, column) for column in type(self).model_fields if getattr(self, column)}
        allowed = np.ones(len(sheets), dtype=bool)
        for column, values in given.items():
            here = allowed & pc.is_in(sheets[column], value_set=pa.array(values, pa.string())).to_numpy()
            if not here.any():
                before = "no sheet has" if allowed.all() else "no sheet that meets the conditions before it has"
                told = _suggest(sheets.filter(pa.array(allowed)), column, values)
                raise ValueError(f"where.{column}: {before} {_shorten(', '.join(values))}; {told}")
            allowed = here
        return allowed if given else None


def _suggest(sheets: pa.Table, column: str, values: tuple[str, ...]) -> str:
    """The closest value of a column, or the most frequent ones."""
    counted = pc.value_counts(sheets[column].drop_null()).to_pylist()
    known = [row["values"] for row in sorted(counted, key=lambda row: (-row["counts"], row["values"]))]
    if not known:
        return f"no sheet has a value in the column {column}"
    if len(values) == 1 and (hint := suggest_name(values[0][:200], [name[:200] for name in known])).startswith("did"):
        return _shorten(hint)
    shown = ", ".join(_shorten(name) for name in known[:_LISTED])
    return f"choose from {shown}" + (f" and {len(known) - _LISTED:,} more" if len(known) > _LISTED else "")


def _shorten(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}…"

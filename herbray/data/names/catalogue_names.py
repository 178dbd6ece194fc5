"""All names of a catalogue: read, replaced by accepted names, completed with families, institutions by their codes."""

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

from herbray.data.names.columns import TidiedNames, map_distinct, tidy_names
from herbray.data.names.lookup import fill_lineages, replace_synonyms
from herbray.data.names.parse import parse_name
from herbray.data.names.settings import Names
from herbray.schema import RANKS, VERBATIM_NAME


def read_names(table: pa.Table, spec: Names) -> TidiedNames:
    """Read the names of a catalogue, and look them up in the user's tables.

    Args:
        table: rows in `herbray.schema.CATALOGUE`, without empty texts.
        spec: the settings.

    Returns:
        The columns of names and `institution`, as long as the table.

    Raises:
        ValueError: a table of the user cannot be read.
    """
    tidied = _keep_names(table) if spec.as_written else tidy_names(table)
    columns, notes = dict(tidied.columns), list(tidied.notes)
    for path, look_up in ((spec.synonyms, replace_synonyms), (spec.genera, fill_lineages)):
        if path is not None:
            coverage = look_up(columns, path)
            columns |= coverage.columns
            notes.append(coverage.note)
    codes = {_fold(name): code for name, code in spec.institutions.items()}
    columns["institution"] = map_distinct(table["institution"], lambda name: codes.get(_fold(name), name))
    return TidiedNames(columns, notes)


def _keep_names(table: pa.Table) -> TidiedNames:
    """Keep names as they are written, with single spaces and in one Unicode form; only a missing genus is read."""
    columns = {name: map_distinct(table[name], _join) for name in (*RANKS, "true_species")}
    read = map_distinct(columns["species"], lambda text: parse_name(text).genus)
    columns["genus"] = pc.coalesce(columns["genus"], read)
    columns[VERBATIM_NAME] = pc.coalesce(*(table[rank] for rank in ("species", "genus", "family", "order")))
    return TidiedNames(columns, [])


def _join(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _fold(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())

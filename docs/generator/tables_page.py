"""The reference of tables: the columns of every table, from the Arrow schemas and the comments next to them."""

import inspect
import re
from typing import Final

import pyarrow as pa

from herbray import schema
from herbray.schema import curation, results, specimens

TABLES: Final = {
    "MASKED_CATALOGUE": ("Catalogue", "`catalogue.parquet`"),
    "RIGHTS": ("Rights", "`rights.parquet`, beside the catalogue"),
    "FETCHED": ("Fetched images", "`images.parquet`, in the folder of images"),
    "CONFLICT": ("Conflicts", "`conflicts.parquet`, beside the catalogue and beside the shards"),
    "DUPLICATE": ("Duplicates", "`duplicates.parquet`, beside the shards"),
    "SHARD": ("Shards", "`split=NAME/part-00000.parquet`"),
    "INDEX": ("Index of the shards", "`index.parquet`"),
    "LINEAGE": ("Names of the labels at higher ranks", "`lineage.parquet`"),
    "QUARANTINE": ("Quarantine", "`quarantine.parquet`"),
    "EMBEDDING": ("Embeddings", "`MODEL-SHARDS/split=NAME/part-00000.parquet`"),
    "RESULT": ("Results", "`results.parquet`"),
    "OUTCOME": ("Outcomes", "`results-outcomes/ENCODER.parquet`"),
    "COMPARISON": ("Comparisons", "`results-comparisons.parquet`"),
    "LEFT_OUT": ("Left out", "`results-left-out.parquet`"),
    "TRIAL": ("Trials", "`trials.parquet`"),
    "SUSPECT": ("Suspects", "`suspects.parquet`"),
    "SIMILAR": ("Similar sheets", "`similar.parquet`, `similar.csv`"),
    "NAMED": ("Suggested names", "`names.parquet`, `names.csv`"),
    "VERDICT": ("Verdicts", "`saved.csv`, `verdicts-REVIEWER.csv`"),
}
"""Name in `herbray.schema` → heading, file."""


def page() -> str:
    """The page as Markdown."""
    parts = [
        "# Tables",
        "Every table is a Parquet file, except verdicts, which are CSV. The columns are defined in "
        f"`herbray/schema/`, version {schema.VERSION}.",
    ]
    for name, (heading, file) in TABLES.items():
        table = schema.embedding_schema(512) if name == "EMBEDDING" else getattr(schema, name)
        parts += [f"## {heading}", f"{file}. {_about(name)}", _columns(name, table)]
    return "\n\n".join(parts) + "\n"


def _source() -> str:
    """The source of all schemas."""
    return "\n\n".join(map(inspect.getsource, (specimens, curation, results)))


def _block(name: str) -> str:
    """The source that defines a table, with the string below it; empty for embeddings, which a function makes."""
    found = re.search(rf'^{name}: .+?^""".+?"""', _source(), re.M | re.S)
    return found[0] if found else ""


def _about(name: str) -> str:
    """The string below a schema's assignment."""
    if name == "EMBEDDING":
        return "One row a specimen; the length of `embedding` is that of the encoder, 512 for ResNet-18."
    return _block(name).split('"""')[-2]


def _remarks(source: str) -> dict[str, str]:
    """Column → the comment that follows its field, the first if there are several."""
    lines = re.findall(r'pa\.field\(f?"(\w+?)(?:_\{end\})?".*?\),?\s+# (.+)', source)
    return {name: words for name, words in reversed(lines)}


def _identity() -> dict[str, str]:
    """Column → its line in the docstring of `Identity`."""
    lines = re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", inspect.getdoc(schema.Identity) or "", re.M)
    return {name: " ".join(words.split()).rstrip(".") for name, words in lines}


def remarks(name: str) -> dict[str, str]:
    """Column → what it holds: the table's own comment, else that of the table whose columns it repeats."""
    return _remarks(_source()) | _identity() | _remarks(_block(name))


def _columns(name: str, table: pa.Schema) -> str:
    told = remarks(name)
    lines = ["| column | type | may be null | holds |", "|---|---|---|---|"]
    for field in table:
        words = told.get(field.name) or told.get(re.sub(r"_[ab]$", "", field.name), "")
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        lines.append(f"| `{field.name}` | `{kind}` | {'yes' if field.nullable else 'no'} | {words} |")
    return "\n".join(lines)

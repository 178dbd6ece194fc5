import numpy as np
import pyarrow as pa
import pytest

from herbray import schema, storage, tables
from herbray.flow.evaluation.suspects import Suspects, suspects
from herbray.flow.review.job import Review

LONG = "Longa" + "n" * 10_000
GENERA = ("Alba", "</script><img src=x onerror=document.title='run'>", "=Cmd|' /C calc'!A0", "وردة", LONG)
FAMILIES = ("Rosaceae", "Fagaceae")
SHEETS = 150
WRONG = {4: 1, 13: 0, 25: 2, 36: 3, 47: 4, 58: 0}
"""Number of a sheet → number of the genus that it is wrongly filed under."""


def specimen(number):
    """A row of the drawn collection; its plant looks like genus `number % 5`, whatever its name."""
    row = dict.fromkeys(schema.SPECIMEN.names)
    filed = WRONG.get(number, number % 5)
    row |= {"specimen_id": f"@{number:03d}", "genus": GENERA[filed], "family": FAMILIES[filed % 2], "split": "random"}
    row |= {
        "institution": ("NY", "K", None)[number % 3],
        "gathering": f"Vale {number // 10}-{number % 5}" if number % 7 else None,
    }
    row |= {
        "catalog_number": f"NY-{number}",
        "reference": f"https://example.org/{number}" if number % 2 else "javascript:x",
    }
    return row


def embeddings(folder, shards):
    generator = np.random.default_rng(0)
    rows = [specimen(number) for number in range(SHEETS)]
    for number, row in enumerate(rows):
        row["embedding"] = (6 * np.eye(8)[number % 5] + generator.standard_normal(8)).astype(np.float32)
    table = pa.Table.from_pylist(rows, schema=schema.embedding_schema(8))
    tables.write(folder / "split=random" / "part-00000.parquet", table)
    storage.write_note(folder / "manifest.json", {"name": "net-1", "encoder": "e1", "shards": shards, "model": "net"})


@pytest.fixture(scope="package")
def collection(tmp_path_factory, write_shards):
    """A folder with embeddings, shards and suspects of 150 sheets in five genera, six of them wrongly named."""
    root = tmp_path_factory.mktemp("review")
    rows = [specimen(number) for number in range(SHEETS)]
    sheets = [(row["specimen_id"], row["genus"], row["gathering"], row["institution"]) for row in rows]
    write_shards(root / "shards", {"random": sheets})
    embeddings(root / "embeddings", "shards")
    suspects(Suspects(embeddings=root / "embeddings", split="random", out=root / "suspects"))
    return root


@pytest.fixture
def settings(collection, tmp_path):
    """The review of the collection, in a folder of the test."""
    return Review(
        embeddings=collection / "embeddings",
        suspects=(collection / "suspects",),
        shards=collection / "shards",
        verdicts=tmp_path / "verdicts",
        out=tmp_path / "page",
    )

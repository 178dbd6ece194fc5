import numpy as np
import pyarrow as pa
import pytest

from herbray import schema
from herbray.tasks import Embeddings

# genus -> (family, order): two families with two genera each, and a genus of another order
FLORA = {
    "Alba": ("Alabaceae", "Alales"),
    "Borea": ("Alabaceae", "Alales"),
    "Cirra": ("Ciraceae", "Alales"),
    "Dolia": ("Ciraceae", "Alales"),
    "Erema": ("Eremaceae", "Eremales"),
}


def draw_table(sizes, separation, seed=0, dim=16, splits=("random",)):
    """Gaussian clouds, one a genus, whose centres lie `separation` standard deviations out."""
    generator = np.random.default_rng(seed)
    rows = []
    for number, (genus, size) in enumerate(sizes.items()):
        family, order = FLORA[genus]
        centre = separation * np.eye(dim)[number]
        for copy in range(size):
            row = dict.fromkeys(schema.SPECIMEN.names)
            row |= {"specimen_id": f"{genus}-{copy:04d}", "order": order, "family": family, "genus": genus}
            row |= {"species": f"{genus} {'alta' if copy % 2 else 'brevis'}", "institution": "AB"[copy % 2]}
            row |= {"split": splits[copy % len(splits)]}
            row |= {"embedding": (centre + generator.standard_normal(dim)).astype(np.float32)}
            rows.append(row)
    return pa.Table.from_pylist(rows, schema=schema.embedding_schema(dim))


def draw_embeddings(*args, **kwargs):
    return Embeddings.from_table(draw_table(*args, **kwargs))


@pytest.fixture(scope="session")
def table_of():
    return draw_table


@pytest.fixture(scope="session")
def embeddings_of():
    return draw_embeddings


@pytest.fixture(scope="session")
def five_genera():
    return draw_table({"Alba": 30, "Borea": 20, "Cirra": 40, "Dolia": 12, "Erema": 24}, separation=2.0)

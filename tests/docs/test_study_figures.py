import pyarrow as pa
import pytest
import study_figures

from herbray import schema, tables

KINDS = {  # kind: objective, start, mean accuracy
    "f1": (schema.UNTRAINED, "imagenet", 0.7),
    "f2": (schema.UNTRAINED, "models:/herbray-pretraining/1", 0.6),
    "c1": ("classifier", "imagenet", 0.8),
    "c2": ("classifier", "models:/herbray-pretraining/1", 0.59),
    "t1": ("triplet", "imagenet", 0.75),
}


def side(kind, end):
    objective, init, _ = KINDS[kind]
    names = {"model": objective, "objective": objective, "kind": kind, "init": init, "start_kind": f"f{kind[1]}"}
    return {f"{name}_{end}": value for name, value in names.items()} | {f"seeds_{end}": 3, f"encoders_{end}": ["e"]}


def compared(a, b, low, difference, high, split="random", metric="accuracy"):
    test = {"task": "identify", "split": split, "level": "genus", "metric": metric, "lower_is_better": False}
    numbers = {"specimens": 100, "difference": difference, "low": low, "high": high, "better": "undecided"}
    return test | side(a, "a") | side(b, "b") | numbers


@pytest.fixture
def grid(tmp_path):
    """Results of a study: a classifier from two starts, a triplet network from one."""
    identity = {"encoder": "e", "seed": 1}
    rows = [
        {name: "x" for name in schema.IDENTITY.names}
        | identity
        | {"objective": objective, "model": objective, "kind": kind, "init": init, "start_kind": f"f{kind[1]}"}
        | {"task": "identify", "split": "random", "level": "genus", "fold": fold, "metric": "accuracy", "value": value}
        for kind, (objective, init, mean) in KINDS.items()
        for fold, value in enumerate((mean - 0.05, mean + 0.05))
    ]
    pairs = [
        compared("c1", "f1", 0.05, 0.1, 0.15),
        compared("f2", "c2", -0.02, 0.01, 0.04),
        compared("f1", "t1", -0.08, -0.05, -0.01),
        compared("c1", "t1", 0.01, 0.05, 0.1),  # two trained ones
        compared("c1", "f2", 0.1, 0.2, 0.3),  # another start
        compared("c1", "f1", 0.1, 0.2, 0.3, metric="macro_accuracy"),
    ]
    tables.write(tmp_path / "results.parquet", pa.Table.from_pylist(rows, schema=schema.RESULT))
    tables.write(tmp_path / "results-comparisons.parquet", pa.Table.from_pylist(pairs, schema=schema.COMPARISON))
    return tmp_path


def test_a_table_has_the_gain_of_each_objective_over_its_own_start(grid):
    ((place, rows),) = study_figures.read_rows(grid).items()
    assert (place.data, place.split) == (grid.name, "random")
    table = study_figures.write_tables({place: rows}).splitlines()
    assert table[0].startswith(f"**{grid.name}, R split**")
    assert table[2:] == [
        "| objective | from drawn herbarium | from ImageNet |",
        "|---|---|---|",
        "| not trained | 0.600 | 0.700 |",
        "| classifier | 0.590, -1.0 (-4.0 to 2.0) | **0.800, +10.0 (5.0 to 15.0)** |",
        "| triplet | – | **0.750, +5.0 (1.0 to 8.0)** |",
    ]


def test_the_figure_has_a_panel_for_each_data_set_with_the_split(grid):
    rows = study_figures.read_rows(grid)
    other = {study_figures.Place("other", "herbarium"): next(iter(rows.values()))}
    figure = study_figures.draw_gains(rows | other, "random")
    assert [axes.get_title(loc="left") for axes in figure.axes] == [grid.name]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["classifier", "triplet"]

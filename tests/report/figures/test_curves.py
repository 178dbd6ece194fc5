import pyarrow as pa

from herbray.report.figures.curves import draw_curves, mean_line
from herbray.report.names import Kind
from herbray.report.scores import list_series


def drawn(*rows):
    """Of rows of kind, metric, epoch and value; a kind is called by its part before a dash."""
    kinds = {Kind(kind.partition("-")[0], "random", kind, kind.partition("-")[0], "") for kind, *_ in rows}
    named = [dict(zip(("kind", "metric", "epoch", "value"), row, strict=True)) for row in rows]
    return draw_curves(pa.Table.from_pylist(named), "curves", list_series(kinds))


def test_runs_of_one_model_are_shown_as_their_mean():
    assert mean_line([(2.0, 1.0), (1.0, 4.0), (1.0, 2.0)]) == ([1.0, 2.0], [3.0, 1.0])


def test_shared_accuracy_comes_first_and_each_loss_has_its_own_scale():
    rows = [
        (m, metric, 1.0, 0.5) for m in ("classifier", "triplet") for metric in ("train_loss", "val_loss", "val_knn")
    ]
    drawing = drawn(*rows)
    assert drawing.alt.endswith("k-NN accuracy, loss of triplet, loss of classifier.")


def test_values_that_are_not_finite_are_not_drawn():
    assert drawn(("triplet", "train_loss", 1.0, float("nan"))) is None


def test_a_curve_of_one_point_at_the_start_is_drawn():
    assert drawn(("triplet", "val_knn", 0.0, 0.3)) is not None


def test_kinds_of_one_model_have_a_line_each_and_share_the_panel_of_its_losses():
    drawing = drawn(*((kind, "train_loss", 1.0, 0.5) for kind in ("triplet-000001", "triplet-000002", "classifier")))
    assert drawing.alt.startswith("Learning curves of triplet (000001), triplet (000002), classifier:")
    assert drawing.alt.endswith("loss of triplet, loss of classifier.")

import pyarrow as pa

from herbray.report.curves import _mean_line, curves


def table(*rows):
    return pa.Table.from_pylist([dict(zip(("model", "metric", "epoch", "value"), row, strict=True)) for row in rows])


def test_runs_of_one_model_are_shown_as_their_mean():
    assert _mean_line([(2.0, 1.0), (1.0, 4.0), (1.0, 2.0)]) == ([1.0, 2.0], [3.0, 1.0])


def test_shared_accuracy_comes_first_and_each_loss_has_its_own_scale():
    rows = [
        (m, metric, 1.0, 0.5) for m in ("classifier", "triplet") for metric in ("train_loss", "val_loss", "val_knn")
    ]
    drawing = curves(table(*rows), "curves")
    assert drawing.alt.endswith("k-NN genus accuracy, loss of triplet, loss of classifier.")


def test_values_that_are_not_finite_are_not_drawn():
    assert curves(table(("triplet", "train_loss", 1.0, float("nan"))), "curves") is None


def test_a_curve_of_one_point_at_the_start_is_drawn():
    assert curves(table(("triplet", "val_knn", 0.0, 0.3)), "curves") is not None

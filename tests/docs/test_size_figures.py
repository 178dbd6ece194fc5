"""The curves of image size and epochs."""

from pathlib import Path

import pytest
import size_figures
import yaml
from study_figures import Row

ROOT = Path(__file__).parents[2]


def row(label, accuracy, start="ImageNet"):
    return Row("arcface", label, start, accuracy, 0.6, 100 * (accuracy - 0.6), 1.0, 20.0)


POINTS = sorted(
    size_figures.Point.from_row(each)
    for each in (
        row("128 px, 12 epochs", 0.8),
        row("64 to 128 px, 12 epochs", 0.9),
        row("64 px, 12 epochs", 0.7),
        row("64 px, 12 epochs, random start", 0.61, "random"),
        row("64 px, 3 epochs", 0.65),
    )
)


def test_every_label_of_the_experiment_names_its_settings():
    job = yaml.safe_load((ROOT / "jobs/experiments/sizes.yaml").read_text())
    for training in job["train"]:
        point = size_figures.Point.from_row(row(training["label"], 0.7))
        assert (point.size, point.epochs, point.start) == (
            training["encoder"]["size"],
            training["epochs"],
            training["encoder"]["init"],
        )
        assert point.growing == ("sides" in training)


def test_a_label_without_a_size_is_refused():
    with pytest.raises(ValueError, match="'balanced' does not name size and epochs"):
        size_figures.Point.from_row(row("balanced", 0.7))


def test_the_table_has_a_line_for_each_training():
    assert size_figures.write_table(POINTS).splitlines()[2:] == [
        "| imagenet | 3 | 64 | 0.600 | 0.650 | +5.0 (1.0 to 20.0) |",
        "| imagenet | 12 | 64 | 0.600 | 0.700 | +10.0 (1.0 to 20.0) |",
        "| imagenet | 12 | 128 | 0.600 | 0.800 | +20.0 (1.0 to 20.0) |",
        "| imagenet | 12 | 64 to 128 | 0.600 | 0.900 | +30.0 (1.0 to 20.0) |",
        "| random | 12 | 64 | 0.600 | 0.610 | +1.0 (1.0 to 20.0) |",
    ]


def test_the_curves_hold_each_training_in_its_place():
    by_size, by_epochs = size_figures.draw_curves(POINTS).axes
    lines = {tuple(map(tuple, line.get_xydata())) for line in by_size.lines}
    assert {((64, 0.7), (128, 0.8)), ((128, 0.9),), ((64, 0.6), (128, 0.6))} <= lines
    assert [list(map(tuple, line.get_xydata())) for line in by_epochs.lines] == [[(3, 0.65), (12, 0.7)], [(12, 0.61)]]

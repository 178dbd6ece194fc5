import time

import pytest

from herbray import config
from herbray.console import progress as console_progress
from herbray.flow.training.metrics_log import append_metrics
from herbray.flow.training.progress import show_progress
from herbray.flow.training.specification import Train


def job(folder, name):
    return config.parse(Train, {"objective": {"name": "triplet"}, "out": str(folder / name), "epochs": 4})


@pytest.mark.slow
def test_each_training_gets_lines_with_epoch_loss_and_score_as_soon_as_its_folder_exists(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(console_progress, "MIN_INTERVAL_S", 0.0)
    jobs = [job(tmp_path, "one"), job(tmp_path, "two"), job(tmp_path, "waiting")]
    with show_progress(jobs) as bar:
        for place, each in enumerate(jobs[:2]):
            each.out.mkdir()
            row = {"epoch": 2.0 + place, "images": 64, "train_loss": 0.25, "val_knn": 0.5 + place / 4}
            append_metrics(each.out / "metrics.jsonl", row)
        deadline = time.monotonic() + 30
        while len(bar.tasks) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
    said = capsys.readouterr().err
    assert "one: loss 0.250, k-NN 0.500: 2/4 epochs" in said
    assert "two: loss 0.250, k-NN 0.750: 3/4 epochs" in said
    assert "waiting" not in said

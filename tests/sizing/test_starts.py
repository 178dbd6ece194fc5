import pytest

from herbray import cli
from herbray.config import parse
from herbray.flow.evaluation.job import Evaluate
from herbray.sizing.specification import Plan
from herbray.sizing.starts import expect, job_settings, measure_start, prepare_tiny, run_verb, to_yaml

from .conftest import rates

TREE = {
    "shard": {"side": 36, "bag": 8},
    "train": {"encoder": {"arch": "mobilenet_v3_small", "size": 32}, "objective": {"name": "classifier"}, "workers": 0},
    "embed": {"actors": 0},
}


def test_the_commands_get_the_settings_of_the_plan(tmp_path):
    tiny = prepare_tiny(parse(Plan, TREE), tmp_path, sheets=40, px=48)
    found = job_settings(tiny, tmp_path)
    assert list(found) == ["catalogue", "shard", "train", "embed", "evaluate"]
    for settings in found.values():
        assert parse(type(settings), to_yaml(settings)) == settings
    assert to_yaml(found["train"])["objective"] == {"name": "classifier"}
    assert "splits" not in to_yaml(Evaluate())
    assert set(expect(tiny, rates())) == set(found)
    assert all(verb in cli.VERBS for verb in found)


@pytest.mark.long
def test_a_start_is_what_the_work_does_not_explain(tmp_path):
    tiny = prepare_tiny(parse(Plan, TREE), tmp_path, sheets=24, px=48)
    settings, expected = job_settings(tiny, tmp_path)["catalogue"], expect(tiny, rates())["catalogue"]
    rate = measure_start("catalogue", settings, tmp_path, expected)
    assert (rate.work, rate.name) == ("start", "catalogue")
    assert 0.1 <= 1 / rate.per_s < 300
    assert 0.01 <= rate.share <= 1
    (tmp_path / "herbarium" / "labels.csv").unlink()
    with pytest.raises(RuntimeError, match=r"herbray catalogue .*catalogue\.yaml failed:\n.*labels\.csv"):
        run_verb("catalogue", settings, tmp_path)

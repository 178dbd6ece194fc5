import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from herbray import cli, config
from herbray.sizing.job import Planned, check_fit, make_plan, plan
from herbray.sizing.specification import Plan
from herbray.sizing.table import format_bytes, format_time, markdown, notes, print_plan
from herbray.sizing.verbs import plan_verbs

JOB = Path(__file__).parents[2] / "jobs" / "plan.yaml"


def test_the_shipped_plan_is_that_of_half_earth(tmp_path, capsys):
    spec = config.load(Plan, JOB, [f"out={tmp_path}", "rates=[]"])
    done = plan(spec)
    verbs = {demand.verb: demand for demand in done.demands}
    assert list(verbs) == ["catalogue", "shard", "train", "embed", "evaluate"]
    assert verbs["shard"].images == 2_257_759
    assert verbs["train"].binds == "decode"  # as measured on the H200: the step waits for the decoders
    assert verbs["train"].total_s == pytest.approx(
        verbs["train"].images / 8381, rel=0.02
    )  # 22.9 s of its start included
    printed = " ".join(capsys.readouterr().out.split())
    assert "rate: fed step resnet18 triplet at 256 px: 8,381/s, NVIDIA H200, 2026-11-29" in printed
    kept = json.loads((tmp_path / "plan.json").read_text())
    assert [each["verb"] for each in kept["verbs"]] == list(verbs)
    assert kept["verbs"][2]["total_s"] == pytest.approx(verbs["train"].total_s)
    assert kept["settings"]["collection"]["sheets"] == 2_257_759


def test_the_papers_training_takes_as_long_as_the_benchmark_says_of_its_images():
    splits = "{train: 424544, validation: 106136, herbarium: 139529, species: 62997, random: 58886}"
    spec = config.load(Plan, JOB, ["rates=[]", f"collection.splits={splits}", "train.validate_rows=2"])
    train = make_plan(spec).demands[2]
    paper = 424_544 * 25
    assert paper < train.images < 1.07 * paper  # pairs of small genera and the last batches are filled up
    assert (train.total_s - 22.9) / 60 * paper / train.images == pytest.approx(21.1, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (["shard.side=128"], "shard.side=128 px is less than train.encoder.size=256"),
        (["cluster.nodes=2", "cluster.network_mb_s=null"], "give a rate, or set nodes=1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, fault):
    with pytest.raises(ValueError, match=fault):
        check_fit(config.load(Plan, JOB, changes))


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert cli.run("plan", None, [f"out={tmp_path}"]) == 1
    assert "nothing to plan for: set collection.catalogue to a folder" in capsys.readouterr().err


def test_units():
    assert [format_bytes(count) for count in (0, 12, 4_500, 226e9, 1.5e12)] == [
        "",
        "12 B",
        "4.5 kB",
        "226 GB",
        "1.5 TB",
    ]
    assert [format_time(s) for s in (3.21, 600, 4 * 3600, 72 * 3600)] == ["3.21 s", "10 min", "4 h", "3 days"]


def test_the_table_names_what_binds_and_what_was_not_measured(case):
    found = case({"cluster": {"gpu": "NVIDIA L4"}})
    demands = plan_verbs(found)
    text = io.StringIO()
    print_plan(demands, list(found.rates.used), Console(file=text, width=160))
    assert "not measured" in text.getvalue()
    assert "train: not measured; run herbray benchmark step arch=resnet18 size=256" in text.getvalue()
    assert sum(line.startswith("rate: ") for line in notes(demands, list(found.rates.used))) == 5
    lines = markdown(demands).splitlines()
    assert lines[2].startswith("| catalogue | 100,000 | 1 | 10 MB | 10 MB | 85 MB |  | 1 s | CPU | network 1% |")
    assert str(Planned(tuple(demands), ())).endswith("not measured: train, embed")
    assert "most of it train (decode binds)" in str(Planned(tuple(plan_verbs(case())), ()))

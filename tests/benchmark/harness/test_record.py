import io
import json
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from herbray import cli, config
from herbray.benchmark.contests.knn import Knn
from herbray.benchmark.harness.page import command, write_page
from herbray.benchmark.harness.race import Case, Contender, Lap, Missing
from herbray.benchmark.harness.record import make_record, read_record, write_record
from herbray.benchmark.harness.spec import BenchmarkSpec, Promise, Target
from herbray.benchmark.harness.table import header, print_record, rows
from herbray.benchmark.job import Benchmark, benchmark, measure
from herbray.benchmark.registry import BENCHMARKS

CASES = [
    Case(
        "count [to] ten",
        "numbers",
        [Contender("herbray", lambda: 1), Contender("peer", lambda: 1), Missing("gone", "no wheel")],
    )
]


class Toy(BenchmarkSpec):
    name: Literal["toy"] = "toy"

    def cases(self, work: Path) -> Iterator[Case]:
        yield from CASES

    def targets(self) -> Sequence[Promise]:
        return [
            Target("count [to] ten", "herbray", "peer", "cpu_ms", 1.5),
            Target("count [to] ten", "herbray", "peer", "rate", 1.5),
            Target("count [to] ten", "herbray", "gone", "rate", 1.5),
        ]


def toy(load=0.4):
    laps = [
        Lap("count [to] ten", name, i, 10, wall, cpu, load)
        for i in (1, 2, 3)
        for name, wall, cpu in (("peer", 1.0, 4.0), ("herbray", 1.0, 2.0))
    ]
    return make_record(Toy(), CASES, laps)


def printed(done):
    text = io.StringIO()
    print_record(done, Console(file=text, width=200))
    return text.getvalue()


def test_a_record_comes_back_from_its_file_as_it_was(tmp_path):
    done = toy()
    write_record(done, tmp_path / "deep" / "toy.json")
    assert read_record(tmp_path / "deep" / "toy.json") == done
    assert len(done.laps) == 6
    assert done.versions["torch"]
    assert done.machine.cores >= 1
    assert done.cases[0].missing == {"gone": "no wheel"}


def test_a_file_that_is_no_record_is_named(tmp_path):
    (tmp_path / "x.json").write_text('{"laps": []}')
    with pytest.raises(ValueError, match=r"x\.json: not a record of a benchmark"):
        read_record(tmp_path / "x.json")


def test_the_table_shows_ratios_promises_and_missing_peers():
    text = printed(toy())
    assert "count [to] ten" in text
    ours, peer = (next(line for line in text.splitlines() if f"│ {name} " in line) for name in ("herbray", "peer"))
    assert "1.00 ×" in ours
    assert "2.00 ×" in peer
    assert ours.split("│")[2:4] != peer.split("│")[2:4]
    assert ours.split("│")[3].strip() == "200"  # CPU ms a number
    assert "missing: no wheel" in text
    assert "    met count [to] ten: herbray ≥ 1.5 × peer (CPU ms a unit): measured 2.00 × (2.00–2.00)" in text
    assert "not met count [to] ten: herbray ≥ 1.5 × peer (units a second)" in text
    assert "not measured" in text
    assert "Under load" not in text


def test_a_case_of_seconds_has_no_rate_and_no_exponent():
    """A start is no rate, and what is lost at a border may lie below the clock: 8,192,000,000,000 images/s."""
    contenders = [Contender(name, lambda: 1) for name in ("herbray", "peer")]
    case = Case("wait at a border", "borders", contenders, measures="seconds")
    laps = [Lap(case.name, name, 1, 3, wall, None, 0.1) for name, wall in (("herbray", 1e-9), ("peer", 0.06))]
    done = make_record(Toy(), [case], laps)
    assert header(done.cases[0])[1] == "s/border"
    table = printed(done).partition("count [to] ten")[0]
    assert "borders/s" not in table
    assert "CPU" not in table  # was not measured
    assert "e-" not in table
    ours, peer = rows(done.cases[0], laps)
    assert ours[1] == "< 0.0001 (< 0.0001–< 0.0001)"
    assert peer[1] == "0.02 (0.02–0.02)"


def test_a_run_under_load_is_marked():
    assert "Under load: up to 1.30" in printed(toy(load=1.3))


def test_the_page_holds_machine_tables_promises_and_remarks(tmp_path):
    write_record(toy(), tmp_path / "records" / "toy.json")
    (tmp_path / "remarks").mkdir()
    (tmp_path / "remarks" / "toy.md").write_text("Counting is bound by the tongue.\n")
    assert write_page(tmp_path / "records", tmp_path / "benchmark.md", tmp_path / "remarks") == 1
    text = (tmp_path / "benchmark.md").read_text(encoding="utf-8")
    assert toy().machine.cpu in text
    assert "| herbray | 10.0 (10.0–10.0) | 200 (200–200) |" in text
    assert "| herbray ≥ 1.5 × peer (CPU ms a unit) | 2.00 × (2.00–2.00) | **met** |" in text
    assert "Counting is bound by the tongue." in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows[:5]} == {rows[0].count("|")}
    with pytest.raises(ValueError, match="no records in this folder"):
        write_page(tmp_path / "remarks", tmp_path / "benchmark.md", tmp_path / "remarks")


def test_ours_is_the_contender_named_herbray_whoever_ran_first():
    names = ("herbray", "herbray: GPU", "b peer", "a peer")
    case = Case("sort", "rows", [Contender(name, lambda: 1) for name in names])
    laps = [  # the order of a race: the first round that is kept begins with the second contender
        Lap("sort", name, 1, 10, 1.0, 1.0 + names.index(name), 0.1) for name in [*names[1:], names[0]]
    ]
    done = make_record(Toy(), [case], laps)
    for entry in (done.cases[0], done.cases[0].model_copy(update={"contenders": ()})):
        told = {row[0]: row[5] for row in rows(entry, laps)}
        assert tuple(told) == names
        assert told["herbray"] == "1.00 ×"
        assert told["a peer"] == "4.00 ×"


OTHER = {  # settings that are not the defaults
    "ingest": {"rounds": 7},
    "input": {"rounds": 7},
    "triplet": {"batches": (256, 512), "rounds": 9},
    "train": {"rounds": 7},
    "embed": {"sizes": (32, 64), "batch": 8},
    "knn": {"points": 2_000_000},
    "search": {"points": 1_000_000},
    "probe": {"rows": 200, "rounds": 7},
    "scale": {"images": 200},
    "halfearth": {"scale": 0.05},
    "step": {"objectives": ("triplet",), "size": 128},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_command_on_the_page_gives_back_the_settings(name):
    for settings in ({}, OTHER[name]):
        spec = BENCHMARKS[name](**settings)
        words = shlex.split(command(make_record(spec, [], [])))
        assert words[:2] == ["herbray", "benchmark"]
        assert len(words) == 3 + len(settings)
        path, overrides = cli._expand_benchmark(Path(words[2]), words[3:])
        assert config.load(Benchmark, path, overrides).run == spec


def test_the_command_of_an_unknown_benchmark_names_all_settings():
    assert command(toy()) == "herbray benchmark toy rounds=5 seed=89"


@pytest.mark.slow
def test_every_benchmark_is_a_choice_of_the_configuration():
    for name, kind in BENCHMARKS.items():
        spec = config.parse(Benchmark, {"run": {"name": name}}).run
        assert type(spec) is kind
        assert spec.rounds >= 5 or name == "halfearth"  # whose stages run once
        assert spec.targets()


def test_unknown_names_and_keys_are_reported_with_the_known_ones(capsys):
    assert cli.run("benchmark", Path("tripplet"), []) == 1
    error = capsys.readouterr().err
    assert all(name in error for name in BENCHMARKS)
    assert cli.run("benchmark", Path("knn"), ["point=3"]) == 1
    assert "run.point: unknown key; did you mean 'points'?" in capsys.readouterr().err


def test_the_verb_runs_prints_and_keeps_a_record(tmp_path, capsys):
    words = ["points=300", "queries=20", "dim=8", "k=3", "rounds=2", f"out={tmp_path}"]
    assert cli.run("benchmark", Path("knn"), words) == 0
    assert "3 nearest of 300 × 8" in capsys.readouterr().out
    done = json.loads((tmp_path / "knn.json").read_text())
    assert {lap["round"] for lap in done["laps"]} == {1, 2}
    assert benchmark(Benchmark(run=Knn(points=300, queries=20, dim=8, rounds=1), out=tmp_path)) == tmp_path / "knn.json"
    assert measure(Toy(rounds=1)).cases[0].unit == "numbers"

import subprocess
import sys
import time

import pytest

from herbray.benchmark.harness.race import Case, Contender, Measured, Missing, cpu_seconds, race

BURN = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"


def burn():
    subprocess.run([sys.executable, "-S", "-c", BURN], check=True)
    return 1


def test_rounds_interleave_and_the_first_place_rotates():
    seen = []
    entered = [Contender(name, lambda name=name: seen.append(name) or 3) for name in "abc"]
    laps = race(Case("letters", "letters", entered), 3)
    assert "".join(seen) == "abcbcacababc"
    assert [(lap.round, lap.contender) for lap in laps] == list(
        zip([1, 1, 1, 2, 2, 2, 3, 3, 3], "bcacababc", strict=True)
    )
    assert {lap.units for lap in laps} == {3}


def test_cpu_time_counts_a_child_that_was_waited_for():
    lap = race(Case("burn", "units", [Contender("child", burn)]), 1)[0]
    assert 0.39 < lap.cpu_s < 2
    assert lap.wall_s > 0.39


def test_cpu_time_counts_a_child_that_still_lives():
    code = BURN + "\nprint('done', flush=True)\ninput()"
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    before = cpu_seconds()
    try:
        assert child.stdout.readline() == "done\n"
        assert 0.3 < cpu_seconds() - before < 2
    finally:
        child.communicate("\n")
    assert 0.3 < cpu_seconds() - before < 2  # and nothing is lost or doubled when it ends


def test_cpu_time_counts_a_ray_worker(cluster):
    @cluster.remote
    def work():
        exec(BURN)

    cluster.get(work.remote())
    lap = race(Case("ray", "units", [Contender("task", lambda: cluster.get(work.remote()) or 1)]), 1)[0]
    assert 0.35 < lap.cpu_s < 2


def test_sleep_costs_no_cpu_time():
    lap = race(Case("sleep", "units", [Contender("bed", lambda: time.sleep(0.2) or 1)]), 1)[0]
    assert lap.wall_s >= 0.2
    assert lap.cpu_s < 0.1


def test_a_quick_contender_works_until_the_lap_is_long_enough():
    lap = race(Case("quick", "units", [Contender("q", lambda: time.sleep(0.01) or 2)], least_s=0.1), 1)[0]
    assert lap.wall_s >= 0.1
    assert 4 <= lap.units <= 20


def test_a_contender_may_measure_itself():
    own = Measured(units=7, wall_s=2.0, cpu_s=3.0, peak_mib=40.0)
    lap = race(Case("own", "rows", [Contender("far away", lambda: own)], least_s=9), 1)[0]
    assert (lap.units, lap.wall_s, lap.cpu_s, lap.peak_mib) == (7, 2.0, 3.0, 40.0)


def test_missing_peers_do_not_run_and_all_are_closed_also_after_a_fault():
    closed = []

    def fail():
        raise RuntimeError("disk full")

    entered = [Missing("peer", "not installed"), Contender("a", lambda: 1, lambda: closed.append("a"))]
    assert {lap.contender for lap in race(Case("c", "units", entered), 2)} == {"a"}
    entered.append(Contender("b", fail, lambda: closed.append("b")))
    with pytest.raises(RuntimeError, match="disk full"):
        race(Case("c", "units", entered), 2)
    assert closed == ["a", "a", "b"]


def test_a_check_that_fails_stops_the_case_before_the_first_lap():
    def check():
        raise ValueError("other neighbours")

    with pytest.raises(ValueError, match="other neighbours"):
        race(Case("c", "units", [Contender("a", lambda: pytest.fail("ran"))], check), 1)


@pytest.mark.parametrize(
    ("entered", "told"),
    [([Contender("a", lambda: 0)], "a processed 0"), ([Contender("a", lambda: 1), Missing("a", "")], "the same name")],
)
def test_a_case_that_measures_nothing_is_refused(entered, told):
    with pytest.raises(ValueError, match=told):
        race(Case("c", "units", entered), 1)

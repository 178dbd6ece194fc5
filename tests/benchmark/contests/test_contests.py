import mmap
import os
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from herbray.benchmark.contests import knn, scale, sizes, triplet
from herbray.benchmark.contests.knn import Knn, cosines, without_own
from herbray.benchmark.contests.probe import Probe
from herbray.benchmark.contests.scale import Scale
from herbray.benchmark.contests.search import SearchRows, check_agreement, find_by_hand
from herbray.benchmark.contests.triplet import TripletStep, same
from herbray.benchmark.harness.race import Measured, Missing
from herbray.benchmark.job import measure
from herbray.probes.fit import Solver


def case_of(spec, word, tmp_path):
    return next(case for case in spec.cases(tmp_path) if word in case.name)


@pytest.mark.slow
def test_every_target_speaks_of_a_case_and_of_contenders_that_exist(tmp_path):
    for spec in (
        Knn(points=200, queries=5, dim=8),
        TripletStep(images=24, size=32, batches=(16,), dim=8),
        Scale(rows=200, images=0),
        Probe(rows=200, dim=8, classes=(2, 10)),
        SearchRows(points=200, dim=8),
    ):
        cases = {case.name: {contender.name for contender in case.contenders} for case in spec.cases(tmp_path)}
        for target in spec.targets():
            names = cases[target.case]
            assert {getattr(target, "ours", next(iter(names))), getattr(target, "peer", next(iter(names)))} <= names


def test_all_searches_find_the_same_neighbours_and_a_wrong_one_is_caught(tmp_path):
    spec = Knn(points=2000, queries=30, dim=16, k=5)
    for case in spec.cases(tmp_path):
        case.check()
    points = np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    assert cosines(points, np.array([0, 2]), np.array([[2, 1], [3, 0]])).tolist() == [[0, 1], [0, 0]]
    found = without_own(np.array([[0, 1, 2], [0, 3, 2], [1, 0, 3]]), np.array([1, 2, 2]))
    assert found.tolist() == [[0, 2], [0, 3], [1, 0]]


def test_searches_for_other_vectors_agree_and_a_wrong_one_is_caught(tmp_path):
    for case in SearchRows(points=500, dim=16, k=5, queries=(1, 3)).cases(tmp_path):
        case.check()
    points = np.eye(4, dtype=np.float32)
    assert find_by_hand(points, points[:1] + 0.1 * points[2:3], 2).tolist() == [[0, 2]]
    finders = {"herbray": lambda: np.array([[0, 2]]), "other": lambda: np.array([[0, 1]])}
    with pytest.raises(ValueError, match="other finds other rows"):
        check_agreement(points, points[:1] + 0.1 * points[2:3], finders)


def test_both_solvers_fit_the_same_probes_and_another_penalty_is_caught(monkeypatch, tmp_path):
    for case in Probe(rows=300, dim=8, classes=(2, 7), folds=2).cases(tmp_path):
        case.check()
    monkeypatch.setattr("herbray.tasks.methods.probe.Solver", lambda k, C, *rest: Solver(k, C / 10, *rest))
    with pytest.raises(ValueError, match=r"herbray's loss is .* from scikit-learn's"):
        next(Probe(rows=300, dim=8, classes=(7,), folds=1).cases(tmp_path)).check()


def test_neighbours_that_differ_from_ours_are_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(knn, "_learn", lambda points, asked, k, metric: lambda: np.tile(np.arange(k), (len(asked), 1)))
    with pytest.raises(ValueError, match="scikit-learn finds other neighbours"):
        next(Knn(points=2000, queries=30, dim=16, k=5).cases(tmp_path)).check()


def test_a_cloud_drawn_in_chunks_is_the_cloud(monkeypatch):
    spec = Knn(points=500, queries=20, dim=4)
    whole = spec._cloud()
    monkeypatch.setattr(knn, "_CHUNK", 7)
    assert np.array_equal(whole, spec._cloud())
    assert Knn().points >= 100_000


@pytest.mark.slow
def test_all_forms_of_a_step_share_layout_and_optimizer(monkeypatch, tmp_path):
    made = []
    descend = triplet._descend
    monkeypatch.setattr(triplet, "_descend", lambda optimizer, loss: (made.append(optimizer), descend(optimizer, loss)))
    for contender in case_of(TripletStep(images=24, size=32), "training step", tmp_path).contenders:
        contender.run()
    assert {type(each) for each in made} == {torch.optim.AdamW}
    assert [each.defaults["fused"] for each in made] == [True] * 3
    for each in made:
        kernels = [p for group in each.param_groups for p in group["params"] if p.ndim == 4 and p.shape[2] > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)


def test_losses_equal_the_library_in_value_and_gradient(tmp_path):
    pytest.importorskip("pytorch_metric_learning")
    cases = [case for case in TripletStep(batches=(64,), dim=32).cases(tmp_path) if case.check is not None]
    assert [case.name.split(":")[0] for case in cases] == ["all", "hard"]
    for case in cases:
        case.check()


def test_a_loss_of_another_value_or_gradient_is_caught():
    rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    square = lambda x: x.square().sum()  # noqa: E731
    same(square, square, rows)
    with pytest.raises(ValueError, match="losses differ"):
        same(square, lambda x: x.square().sum() * 1.001, rows)
    with pytest.raises(ValueError, match="gradients differ"):
        same(square, lambda x: x.square().sum().detach() + 0 * x.sum(), rows)


@pytest.mark.slow
def test_a_step_counts_a_triplet_an_anchor(tmp_path):
    case = case_of(TripletStep(images=24, size=32, batches=(16,), dim=8), "training step", tmp_path)
    assert [contender.run() for contender in case.contenders] == [24, 8, 8]


def test_a_peer_that_would_not_fit_is_missing_and_says_so(tmp_path):
    pytest.importorskip("pytorch_metric_learning")
    case = case_of(TripletStep(batches=(64,), dim=8, peer_gib=1e-4), "all", tmp_path)
    assert isinstance(case.contenders[1], Missing)
    assert "GiB" in case.contenders[1].reason


def test_rows_that_are_no_groups_are_refused():
    with pytest.raises(ValueError, match="30 rows do not make two or more groups of 4"):
        TripletStep(batches=(30,))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["catalogue", "plan", "epoch", "knn", "evaluate", "embed"])
def test_each_job_of_scale_runs_at_a_small_size(name, tmp_path):
    list(Scale(rows=200, images=0).cases(tmp_path))  # writes the inputs
    rows, folder = (320, tmp_path / "embed" / "320") if name == "embed" else (2000, tmp_path / "2000")
    found = sizes.measure(name, rows, folder)
    if name == "embed":
        assert pq.read_metadata(folder / "embeddings.parquet").num_rows == rows
    assert 0 < found["cpu_s"] < 60
    assert found["wall_s"] > 0


def test_peak_memory_includes_short_allocations():
    peak = sizes.PeakMemory(os.getpid())
    with mmap.mmap(-1, 64 << 20) as held:
        held.write(b"x" * (64 << 20))
        time.sleep(0.3)
    assert 55 < peak.mib() < 200


@pytest.mark.slow
def test_scale_takes_the_word_of_a_fresh_process(tmp_path):
    case = case_of(Scale(rows=200, images=0), "epoch", tmp_path)
    measured = case.contenders[0].run()
    assert measured.units == 200
    assert measured.peak_mib >= 0


@pytest.mark.slow
def test_looking_at_memory_costs_the_job_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sizes.JOBS, "idle", lambda rows, folder: lambda: time.sleep(1))
    before = time.process_time()
    assert sizes.measure("idle", 7, tmp_path)["wall_s"] >= 1
    assert time.process_time() - before < 0.06  # twenty looks from this process took 0.12


@pytest.mark.slow
def test_a_job_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)no-such-job at 5 rows failed.*KeyError"):
        scale._in_process("no-such-job", 5, tmp_path, 60)()


@pytest.mark.slow
def test_scale_ends_in_exponents(monkeypatch):
    """All its jobs, each in this process: that a process of its own can be had, another test shows."""

    def here(name, rows, folder, timeout):
        return lambda: Measured(units=rows, peak_mib=1.0, **sizes.measure(name, rows, folder))

    monkeypatch.setattr(scale, "_in_process", here)
    done = measure(Scale(rows=200, evaluated=0, embedded=0, images=0, rounds=1))
    assert len(done.verdicts) == 4
    assert all(verdict.met is not None for verdict in done.verdicts)

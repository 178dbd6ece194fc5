"""The benchmark of the training step, at its smallest sizes."""

from pathlib import Path

import pytest
import torch

from herbray.benchmark.contests import step
from herbray.benchmark.contests.peaks import listed_peak, peak_of
from herbray.benchmark.contests.step import (
    AS_BUILT,
    FROM_MEMORY,
    FROM_SHARDS,
    PAPER_IMAGES,
    Budget,
    PeakShare,
    Step,
    flops_an_image,
)
from herbray.benchmark.harness.race import Lap, race

TINY = Step(rounds=1, size=32, batch=8, steps=2)


def lap(contender, rate):
    return Lap("case", contender, 1, rate, 1.0, 1.0, 0.1)


@pytest.mark.long
def test_each_objective_trains_from_shards_and_from_memory(tmp_path):
    laps = [lap for case in TINY.cases(tmp_path) for lap in race(case, 1)]
    assert {(lap.contender, lap.units) for lap in laps} == {(FROM_SHARDS, 16), (FROM_MEMORY, 16), (AS_BUILT, 16)}
    assert len(laps) == 9
    verdicts = [target.judge(laps) for target in TINY.targets()]
    assert len(verdicts) == 15
    assert not any(verdict.measured == "not measured" for verdict in verdicts)


@pytest.mark.slow
def test_all_take_the_steps_of_training(tmp_path, monkeypatch):
    seen = []
    take = step.take_step
    monkeypatch.setattr(step, "take_step", lambda *given: (seen.append(given), take(*given))[1])
    (case,) = Step(rounds=1, size=32, batch=16, steps=2, objectives=("classifier",)).cases(tmp_path)
    race(case, 1)
    assert len({id(given[0]) for given in seen}) == 2  # shards and memory feed one learner
    assert {given[3].images.shape for given in seen} == {(16, 32, 32, 3)}
    assert {given[3].images.dtype for given in seen} == {torch.uint8}


@pytest.mark.slow
def test_operations_are_those_of_the_layers():
    """ResNet-18 has 1.814 × 10⁹ multiplications at 224 px; a step is three forwards less the first layer's input."""
    spec = Step(size=224)._spec("triplet", Path())
    first = 2 * 64 * 3 * 49 * 112**2
    assert flops_an_image(spec, 8) == pytest.approx(3 * 2 * 1.8136e9 - first, rel=0.005)


@pytest.mark.slow
def test_operations_of_depthwise_convolutions_are_not_those_of_dense_ones():
    """EfficientNet-Lite0 has 0.385 × 10⁹ multiplications at 224 px; the first layer's input has no gradient."""
    spec = Step(arch="efficientnet_lite0", size=224)._spec("classifier", Path())
    first = 2 * 32 * 3 * 9 * 112**2
    assert flops_an_image(spec, 8) == pytest.approx(3 * 2 * 0.385e9 - first, rel=0.03)


def test_a_chip_is_known_by_its_whole_name():
    known = {"NVIDIA H200": 989, "NVIDIA A100-SXM4-80GB": 312, "NVIDIA H100 PCIe": 756, "Tesla V100-SXM2-16GB": 125}
    assert {name: listed_peak(name).tflops for name in known} == known
    assert listed_peak("NVIDIA L400") is None


@pytest.mark.slow
def test_a_share_is_rate_times_operations_over_the_peak():
    device = torch.device("cpu")
    told = PeakShare("case", FROM_MEMORY, 2e9, device).judge([lap(FROM_MEMORY, 1000)])
    assert told.met is None
    assert told.measured.startswith("2 TFLOP/s")
    assert peak_of(device).tflops > 0


def test_the_budget_is_judged_on_an_h200_at_the_papers_size_alone():
    slow, fast = [lap(FROM_SHARDS, PAPER_IMAGES // 1500)], [lap(FROM_SHARDS, PAPER_IMAGES // 1100)]
    budget = Budget("case", FROM_SHARDS, 256, "NVIDIA H200", 20)
    assert budget.judge(fast).met
    assert not budget.judge(slow).met
    for other in (
        Budget("case", FROM_SHARDS, 128, "NVIDIA H200", 20),
        Budget("case", FROM_SHARDS, 256, "NVIDIA L4", 20),
    ):
        assert other.judge(fast).met is None
        assert "projected" in other.judge(fast).measured

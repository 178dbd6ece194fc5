from contextlib import closing

import pytest

from herbray.benchmark.contests.input import contest as module
from herbray.benchmark.contests.input.contest import AUGMENTED, BORDERS, FIRST, FLOOR, GAP, RAY, Gap, Input
from herbray.benchmark.harness.race import Contender, Lap, Measured, Missing
from herbray.config import parse
from herbray.model.augment import augment

TINY = {"name": "input", "sheets": 4, "rows": 256, "epochs": 1, "side": 40, "batch": 32, "threads": 1, "rounds": 1}


@pytest.fixture(scope="module")
def cases(cluster, tmp_path_factory):
    made = parse(Input, TINY).cases(tmp_path_factory.mktemp("input"))
    with closing(made):
        yield {case.name: case for case in made}


def test_every_target_names_a_case_and_contenders_that_are_there(cases):
    names = {name: {one.name for one in case.contenders} for name, case in cases.items()}
    for target in parse(Input, TINY).targets():
        case = getattr(target, "case", GAP)
        wanted = {getattr(target, key) for key in ("ours", "peer", "contender") if hasattr(target, key)}
        assert wanted <= names[case]


@pytest.mark.long
def test_our_ways_make_equal_batches_and_hand_over_all_images(cases):
    for name, case in cases.items():
        if case.check:
            case.check()
        for one in case.contenders:
            assert isinstance(one, Contender | Missing)
            if isinstance(one, Contender) and one.name.startswith("herbray"):
                done = one.run()
                units = done.units if isinstance(done, Measured) else done
                assert units == {FLOOR: 1024, GAP: BORDERS, FIRST: 1}.get(name, 256)


def test_augmented_batches_are_changed_in_the_trainer_by_ours_and_by_the_peer(cases, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "augment", lambda images, *more: (seen.append(len(images)), augment(images, *more))[1])
    ours, peer, usual = cases[AUGMENTED].contenders
    for one in (ours, peer):
        seen.clear()
        assert one.run() == sum(seen) == 256
        one.close()
    assert usual.name.endswith("augmented")


def test_a_gap_is_a_share_of_an_epoch():
    gap = Gap(RAY, rows=1000, borders=2, at_most=0.01)
    epoch = Lap("shuffled batches", RAY, 1, 2000, 4.0, 1.0, 0.1)  # 500 a second: two seconds an epoch
    assert gap.judge([epoch, Lap(GAP, RAY, 1, 1, 0.03, 1.0, 0.1)]).met  # 15 ms a border
    assert not gap.judge([epoch, Lap(GAP, RAY, 1, 1, 0.06, 1.0, 0.1)]).met
    assert gap.judge([epoch]).met is None

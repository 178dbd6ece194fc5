"""The two benchmarks of training and embedding, at their smallest sizes."""

import pytest

from herbray.benchmark.embed import EmbedRate
from herbray.benchmark.gate import Held
from herbray.benchmark.race import race
from herbray.benchmark.shards import write_shards
from herbray.benchmark.train import TrainLoop
from herbray.data.plan import Stream, epoch_plan, genera
from herbray.flow.manifest import read_index, read_manifest
from herbray.flow.stream import WindowReader, local


def test_written_shards_are_read_like_any_others(tmp_path):
    write_shards(tmp_path / "shards", 70, 40, 0, genera=3)
    assert read_manifest(tmp_path / "shards")["splits"] == {"train": 96}
    index = read_index(tmp_path / "shards")
    windows = epoch_plan(index, genera(index), Stream(batch=16, window=2, align=1), 4, 0, 0)
    batches = list(local(windows, WindowReader(tmp_path / "shards", 40)))
    assert {batch.images.shape for batch in batches} == {(16, 40, 40, 3)}
    assert len({row for batch in batches for row in batch.rows.tolist()}) == 96


def test_embedding_is_raced_against_loops_with_the_same_vectors(tmp_path):
    spec = EmbedRate(rounds=1, sizes=(32,), images=64)
    (case,) = spec.cases(tmp_path)
    laps = race(case, spec.rounds)
    assert {lap.contender for lap in laps} == {contender.name for contender in case.contenders}
    assert all(target.judge(laps).met is not None for target in spec.targets())


def test_training_stands_still_between_laps_and_counts_its_images(tmp_path, cluster):
    spec = TrainLoop(rounds=1, size=32, batch=8, steps=2, workers=(1,))
    found = [lap for case in spec.cases(tmp_path) for lap in race(case, spec.rounds)]
    names = {lap.contender for lap in found}
    assert len(names) == 3
    assert {lap.units for lap in found} == {16, 1}
    assert all(target.judge(found).met is not None for target in spec.targets())


def test_a_run_that_fails_tells_why(tmp_path):
    def start():
        raise ValueError("no such thing")

    held = Held(tmp_path / "gates", start, 1, 1, whole=False)
    with pytest.raises(RuntimeError, match="failed") as caught:
        held.lap()
    assert "no such thing" in str(caught.value.__cause__)

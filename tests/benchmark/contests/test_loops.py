"""The two benchmarks of training and embedding, at their smallest sizes."""

import time

import pytest

from herbray.benchmark.contests.embed import EmbedRate
from herbray.benchmark.contests.gate import Gate, GatedRun
from herbray.benchmark.contests.shards import write_shards
from herbray.benchmark.contests.train import TrainLoop
from herbray.benchmark.harness.race import race
from herbray.data.planning.plan import Stream, list_classes, plan_epoch
from herbray.flow.input.batches import sequential_batches
from herbray.flow.input.window_reader import WindowReader
from herbray.flow.shards.manifest import read_index, read_manifest
from herbray.flow.training.training_data import read_training_data
from herbray.flow.training.worker.loop import train_loop
from herbray.flow.training.world import World


@pytest.mark.parametrize(("bag", "rows"), [(32, 96), (8, 72)])
def test_written_shards_are_read_like_any_others(tmp_path, bag, rows):
    write_shards(tmp_path / "shards", 70, 40, 0, genera=3, bag=bag)
    assert read_manifest(tmp_path / "shards")["splits"] == {"train": rows}
    index = read_index(tmp_path / "shards")
    windows = plan_epoch(index, list_classes(index), Stream(batch=16, window=2, align=1), 4, 0, 0)
    batches = list(sequential_batches(windows, WindowReader(tmp_path / "shards", 40)))
    assert {batch.images.shape for batch in batches} == {(16, 40, 40, 3)}
    assert len({row for batch in batches for row in batch.rows.tolist()}) == rows


@pytest.mark.slow
def test_embedding_is_raced_against_loops_with_the_same_vectors(tmp_path):
    spec = EmbedRate(rounds=1, sizes=(32,), images=64)
    (case,) = spec.cases(tmp_path)
    laps = race(case, spec.rounds)
    assert {lap.contender for lap in laps} == {contender.name for contender in case.contenders}
    assert all(target.judge(laps).met is not None for target in spec.targets())


@pytest.mark.slow
def test_training_stands_still_between_laps_and_counts_its_images(tmp_path):
    """Real steps behind a real gate, in a thread: processes, Ray's above all, are slow to start on a busy machine."""
    loop = TrainLoop(rounds=1, size=32, batch=8, steps=2, workers=(1,))
    cases = list(loop.cases(tmp_path))  # makes the shards; starts nothing
    assert [len(case.contenders) for case in cases] == [3, 3]
    assert [case.measures for case in cases] == ["rate", "seconds"]
    spec, gates, seen = loop._spec(tmp_path, 1), tmp_path / "gates", []

    def counted(batches):
        for batch in batches:
            seen.append(len(batch.labels))
            yield batch

    def start():
        gate = Gate(gates, 0, loop.steps)

        def feed(windows, reader):
            return counted(gate.through(sequential_batches(windows, reader)))

        train_loop(spec, read_training_data(spec), None, World(), feed, None, dict)

    held = GatedRun(gates, start, 1, loop.steps * loop.batch, whole=False)
    for lap in (1, 2):
        measured = held.lap()
        assert measured.units == 16
        assert sum(seen) == 16 * lap
        time.sleep(0.2)
        assert sum(seen) == 16 * lap  # stands still
    assert held.startup.units == 1
    held.close()
    assert held.error is None
    assert sum(seen) >= (loop.rounds + 2) * 16  # and ran to its end


def test_a_failed_run_reports_its_cause(tmp_path):
    def start():
        raise ValueError("no such thing")

    held = GatedRun(tmp_path / "gates", start, 1, 1, whole=False)
    with pytest.raises(RuntimeError, match="failed") as caught:
        held.lap()
    assert "no such thing" in str(caught.value.__cause__)

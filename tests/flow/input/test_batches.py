import sys
import threading

import numpy as np
import pytest

from herbray.data.imaging import images
from herbray.data.planning import plan
from herbray.data.planning.plan import Stream
from herbray.flow.input import batches as stream_module
from herbray.flow.input.batches import LoaderSpec, ray_batches, sequential_batches, windows_of_rank
from herbray.flow.input.window_reader import WindowReader, byte_views
from herbray.flow.shards.manifest import read_index


def windows_of(shards, epochs=2, group=4, **settings):
    index = read_index(shards)
    classes = plan.list_classes(index)
    spec = Stream(**({"batch": 16, "window": 6, "align": 2} | settings))
    return [w for epoch in range(epochs) for w in plan.plan_epoch(index, classes, spec, group, 89, epoch)]


def same(one, two):
    return (
        (one.images == two.images).all()
        and (one.labels == two.labels).all()
        and (one.rows == two.rows).all()
        and (one.seed, one.last) == (two.seed, two.last)
    )


def test_ray_gives_the_batches_of_the_plan_over_two_epochs_in_one_stream(shards):
    windows, reader = windows_of(shards), WindowReader(shards, 40)
    oracle, found = list(sequential_batches(windows, reader)), list(ray_batches(windows, reader, cpus=1))
    assert len(found) == len(oracle) == sum(window.batches for window in windows)
    assert all(same(one, two) for one, two in zip(found, oracle, strict=True))


def test_batches_are_exact_and_grouped(shards):
    for batch in sequential_batches(windows_of(shards, epochs=1), WindowReader(shards, 40)):
        assert batch.images.shape == (16, 40, 40, 3)
        assert batch.images.dtype == np.uint8
        assert (batch.labels.reshape(-1, 4) == batch.labels[::4, None]).all()


def test_one_epoch_shows_every_training_specimen(shards):
    seen = {
        int(row)
        for batch in sequential_batches(windows_of(shards, epochs=1), WindowReader(shards, 40))
        for row in batch.rows
    }
    index = read_index(shards)
    assert len(seen) == sum(bag["rows"] for bag in index.to_pylist() if bag["split"] == "train")


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_ranks_share_the_windows_evenly_and_none_is_taken_twice(shards, world):
    windows = windows_of(shards, epochs=3)
    shares = [windows_of_rank(windows, rank, world) for rank in range(world)]
    assert len({len(part) for part in shares}) == 1
    taken = [id(window) for part in shares for window in part]
    assert len(taken) == len(set(taken)) > len(windows) - world


def test_a_smaller_world_resumes_where_a_larger_one_stopped(shards):
    windows = windows_of(shards, epochs=4)
    before = [window for rank in range(4) for window in windows_of_rank(windows, rank, 4)[:2]]
    after = windows_of_rank(windows, 0, 1, consumed=8)
    assert sorted(map(id, before + after)) == sorted(map(id, windows))


def test_squares_are_cut_where_the_plan_says(shards):
    window, reader = windows_of(shards, epochs=1, align=1)[0], WindowReader(shards, 40)
    centred = []
    for draft in reader.drafts(window, byte_views(reader.read(window)["jpeg"]), centre):
        centred.append(np.empty((window.batch, 40, 40, 3), np.uint8))
        draft.fill(0, window.batch, centred[-1])
    moved = [(batch.images != still).any() for batch, still in zip(reader.batches(window), centred, strict=True)]
    assert any(moved)


def centre(jpegs, side, offsets, out):
    images.decode_squares(jpegs, side, None, out)


def test_changed_shards_are_noticed(shards, tmp_path):
    import dataclasses

    window = windows_of(shards, epochs=1)[0]
    wrong = window.slices[0]._replace(rows=window.slices[0].rows + 1)
    window = dataclasses.replace(window, slices=(wrong, *window.slices[1:]))
    with pytest.raises(ValueError, match="the index says"):
        list(WindowReader(shards, 40).batches(window))


@pytest.mark.parametrize("decode", ["trainer", "tasks"])
def test_wherever_the_jpegs_are_decoded_the_batches_are_the_same(shards, decode):
    windows, reader = windows_of(shards, epochs=1), WindowReader(shards, 40)
    oracle = list(sequential_batches(windows, reader))
    found = list(ray_batches(windows, reader, cpus=1, loader=LoaderSpec(decode=decode, ahead=2), threads=3))
    assert len(found) == len(oracle)
    assert all(same(one, two) for one, two in zip(found, oracle, strict=True))
    assert all(batch.images.flags.writeable for batch in found)


def test_the_first_window_needs_no_ray_and_a_single_window_starts_none(shards, monkeypatch):
    """Its batches are ready before the tasks of the other windows start."""
    windows, reader = windows_of(shards, epochs=1), WindowReader(shards, 40)
    held, waited = threading.Event(), []
    begin = stream_module.start_ahead

    def late(*args):
        def take():
            waited.append(held.wait(20))
            yield from begin(*args)

        return take()

    monkeypatch.setattr(stream_module, "start_ahead", late)
    found = ray_batches(windows, reader, cpus=1)
    first = [next(found) for _ in range(windows[0].batches)]
    held.set()
    both = zip([*first, *found], sequential_batches(windows, reader), strict=True)
    assert all(same(one, two) for one, two in both)
    assert waited == [True]  # False if the first window had come from a task
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", None)
    assert len(list(ray_batches(windows[:1], reader, cpus=1))) == windows[0].batches


def test_a_stream_that_is_closed_early_ends(shards):
    batches = ray_batches(windows_of(shards), WindowReader(shards, 40), cpus=1)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("fetch", "drafts"))]

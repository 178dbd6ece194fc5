import threading
import time

import numpy as np
import pytest

from herbray.flow.input.prefetch import MIN_PIECE, prefetch
from herbray.flow.input.window_reader import Draft


def drafts(count, rows=4 * MIN_PIECE, fill=None, closed=None):
    def paint(number, start, stop, out):
        out[start:stop] = number

    try:
        for number in range(count):
            labels = np.full(rows, number)
            yield Draft(labels, labels, number, False, fill or (lambda a, b, out, n=number: paint(n, a, b, out)))
    finally:
        if closed is not None:
            closed.append(True)


@pytest.mark.parametrize(("threads", "depth"), [(1, 1), (2, 1), (5, 3)])
def test_batches_come_whole_and_in_order(threads, depth):
    found = list(prefetch(drafts(20), 2, threads, depth))
    assert [batch.seed for batch in found] == list(range(20))
    assert all((batch.images == batch.seed).all() for batch in found)
    assert found[0].images.shape == (4 * MIN_PIECE, 2, 2, 3)


def test_the_next_batches_are_made_while_the_caller_works():
    made = threading.Semaphore(0)

    def fill(start, stop, out):
        made.release()

    batches = prefetch(drafts(3, rows=MIN_PIECE, fill=fill), 2, 1, 2)
    next(batches)
    assert all(made.acquire(timeout=10) for _ in range(3))  # all three, although only one was requested
    batches.close()


def test_an_error_is_raised_at_the_batch_where_it_happened():
    def fill(start, stop, out):
        raise ValueError("a broken image")

    def source():
        yield from drafts(2)
        yield from drafts(1, fill=fill)

    batches = prefetch(source(), 2, 2, 3)
    assert [next(batches).seed, next(batches).seed] == [0, 1]
    with pytest.raises(ValueError, match="a broken image"):
        next(batches)


def test_an_error_of_the_source_is_raised_too():
    def source():
        yield from drafts(1)
        raise OSError("the disk is gone")

    batches = prefetch(source(), 2, 2, 3)
    next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_stopping_early_leaves_no_thread_and_no_open_source():
    closed, before = [], threading.active_count()
    batches = prefetch(drafts(1000, closed=closed), 2, 2, 2)
    next(batches)
    batches.close()
    assert closed == [True]
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before

"""Ray tasks that read windows ahead of the training worker."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Any

from herbray.data.planning.window import Window
from herbray.flow.input.window_reader import WindowReader


def read_window(reader: WindowReader, window: Window) -> Iterator[Any]:
    """A task: yields the table of `WindowReader.read`."""
    yield reader.read(window)


def decode_window(reader: WindowReader, window: Window) -> Iterator[Any]:
    """A task: yields the pixels of each batch, UInt8 [batch, side, side, 3]."""
    for batch in reader.batches(window):
        yield batch.images


def start_ahead(
    windows: Iterable[Window],
    task: Callable[[WindowReader, Window], Iterator[Any]],
    reader: WindowReader,
    cpus: float,
    ahead: int,
) -> Iterator[tuple[Window, Iterator[Any]]]:
    """Run a task per window, `ahead` at a time; the first ones start at once.

    Windows are taken from `windows` only when their task is started, so that thousands of them cost nothing. Ray Data
    would make a block of each before the first task starts.

    Args:
        windows: in order.
        task: yields what it has read.
        reader: of the shards; sent to the tasks.
        cpus: reserved by each task.
        ahead: tasks that run, or whose output waits, while the caller uses a window.

    Returns:
        The windows in order, each with what its task yields.

    Raises:
        Exception: raised by the task, when its window's output is used.
    """
    rest = iter(windows)
    if (first := next(rest, None)) is None:
        return iter(())
    import ray  # here, so that the other functions work without Ray

    remote = ray.remote(num_cpus=cpus, num_returns="streaming", scheduling_strategy="SPREAD")(task)

    def start(window: Window) -> tuple[Window, Any]:
        return window, remote.remote(reader, window)

    waiting = deque([start(first), *map(start, islice(rest, ahead - 1))])

    def take() -> Generator[tuple[Window, Iterator[Any]], None, None]:
        while waiting:
            window, output = waiting.popleft()
            waiting.extend(map(start, islice(rest, 1)))
            yield window, _receive(output)

    return take()


def _receive(output: Iterable[Any]) -> Iterator[Any]:
    """What a task yields, fetched from the object store; its errors as in this process."""
    import ray

    try:
        for ref in output:
            yield ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause or error from None

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from herbray.data.imaging.resample import borrow_buffer, resize_lanczos


def photograph(rows, columns, channels=3, seed=0):
    """Noise of every scale: an image with edges, slopes and grain."""
    rng = np.random.default_rng(seed)
    total = np.zeros((rows, columns, channels))
    for cells in (2, 5, 11, 40):
        coarse = rng.normal(0, 40, (cells, cells, channels))
        total += np.stack(
            [
                np.asarray(Image.fromarray(coarse[..., c].astype(np.float32)).resize((columns, rows)))
                for c in range(channels)
            ],
            axis=2,
        )
    return (total + 128 + rng.normal(0, 3, total.shape)).clip(0, 255).astype(np.uint8)


def by_pillow(pixels, width, height, box=None):
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS, box=box))


def psnr(found, wanted):
    return 10 * np.log10(255**2 / max(1e-9, np.mean((found.astype(float) - wanted) ** 2)))


@pytest.mark.parametrize(
    ("rows", "columns", "height", "width"),
    [(300, 200, 96, 64), (200, 300, 64, 96), (97, 61, 61, 97), (40, 30, 80, 60), (64, 64, 64, 64), (16, 128, 16, 128)],
)
def test_it_gives_what_pillow_gives(rows, columns, height, width):
    pixels = photograph(rows, columns)
    found = resize_lanczos(pixels, width, height)
    assert found.shape == (height, width, 3)
    assert found.dtype == np.uint8
    assert psnr(found, by_pillow(pixels, width, height)) > 50  # it rounds in another order


def test_one_channel_is_a_plane_of_three():
    pixels = photograph(120, 90)
    apart = [resize_lanczos(np.ascontiguousarray(pixels[..., c : c + 1]), 30, 40) for c in range(3)]
    assert (np.concatenate(apart, axis=2) == resize_lanczos(pixels, 30, 40)).all()


def test_the_extent_leaves_out_what_the_image_does_not_cover():
    pixels = photograph(126, 90)
    found = resize_lanczos(pixels, 40, 50, extent=(89.25, 125.125))
    assert psnr(found, by_pillow(pixels, 40, 50, box=(0, 0, 89.25, 125.125))) > 50
    assert psnr(found, by_pillow(pixels, 40, 50)) < 45


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 150),
    columns=st.integers(1, 150),
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    level=st.integers(0, 255),
)
def test_an_even_image_stays_even_at_every_size(rows, columns, height, width, level):
    found = resize_lanczos(np.full((rows, columns, 3), level, np.uint8), width, height)
    assert found.shape == (height, width, 3)
    assert (found == level).all()


def test_every_bit_is_the_same_however_the_sums_are_ordered():
    """The same products in float64 with the terms reversed: equal only because no sum is ever rounded."""
    from herbray.data.imaging import resample

    pixels = photograph(200, 130, seed=4)
    rows = np.zeros((64, 200))
    for first, last, start, stop, weights in resample._row_strips(200, 200, 64):
        rows[first:last, start:stop] = weights
    columns = np.zeros((42, 130))
    for first, last, start, stop, weights in resample._column_strips(130, 130, 42, 1):
        columns[first:last, start:stop] = weights.T
    narrow = np.rint(np.einsum("hr,rwc->hwc", rows[:, ::-1], pixels[::-1].astype(float)))
    small = np.rint(np.einsum("wk,hkc->hwc", columns[:, ::-1], narrow[:, ::-1])).clip(0, 255)
    assert (resize_lanczos(pixels, 42, 64) == small).all()
    assert (rows.sum(1) == 1).all()
    assert (abs(rows).sum(1) < 1.5).all()


def test_extreme_levels_do_not_wrap():
    pixels = np.zeros((60, 60, 3), np.uint8)
    pixels[:, 30:] = 255
    found = resize_lanczos(pixels, 24, 24).astype(int)
    assert found[:, :8].max() < 40
    assert found[:, 16:].min() > 215


def test_what_is_borrowed_is_kept_by_the_thread_and_never_shared():
    mine = borrow_buffer("test", (4, 5), np.uint8)
    assert borrow_buffer("test", (10,), np.uint8).base is mine.base
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(borrow_buffer("test", (4, 5), np.uint8)))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, theirs[0])
    assert not np.shares_memory(
        resize_lanczos(photograph(30, 30), 10, 10), borrow_buffer("small", (10, 30), np.float32)
    )

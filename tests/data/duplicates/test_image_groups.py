import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from herbray.data.duplicates.image_groups import DIGEST_BYTES, PRINT_BYTES, count_crossing, group_images
from herbray.data.imaging.perceptual_hash import HASH_BYTES, NEAR_BITS, compute_perceptual_hash
from herbray.data.sources.synthetic import Synthetic
from herbray.schema import DUPLICATE


def prints(*images):
    """`(digest, number of bits by which the perceptual hash differs from the first)` of each image."""
    found = b""
    for digest, apart in images:
        bits = np.zeros(HASH_BYTES * 8, np.uint8)
        bits[:apart] = 1
        found += bytes([digest]) * DIGEST_BYTES + np.packbits(bits).tobytes()
    return found


def test_equal_and_nearly_equal_images_are_grouped():
    images = [(1, 0), (2, 100), (1, 0), (3, 110), (4, 200), (5, 127), (6, 256), (7, 256)]
    splits = ["train", "train", "random", "train", "train", "train", "train", "train"]
    table, notes = group_images(list("hgfedcba"), splits, prints(*images))
    assert table.schema.equals(DUPLICATE)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("a", "near_image", "a", "train"),
        ("a", "near_image", "b", "train"),
        ("c", "near_image", "c", "train"),
        ("c", "near_image", "e", "train"),  # c is near e, and e near g
        ("c", "near_image", "g", "train"),
        ("f", "image", "f", "random"),
        ("f", "image", "h", "train"),
    ]
    assert notes == []
    assert count_crossing(table) == 1


def test_a_picture_of_many_specimens_is_a_placeholder():
    ids = [f"{number:03}" for number in range(103)]
    images = [(1, 0)] * 101 + [(2, 100)] * 2
    table, notes = group_images(ids, ["train"] * 103, prints(*images))
    assert table["specimen_id"].to_pylist() == ["101", "102"]
    assert notes[0].startswith("101 specimens have nearly the same image, e.g. 000: is it a placeholder?")
    assert group_images([], [], b"")[0].num_rows == count_crossing(group_images([], [], b"")[0]) == 0
    assert PRINT_BYTES == len(prints((1, 0)))


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    source = Synthetic(path=tmp_path_factory.mktemp("sheets"), sheets=12, size=256, seed=5)
    paths = [path for part in source.read(print) for path in part["image"].to_pylist()]
    return [Image.open(path).convert("RGB") for path in paths]


def save(image, quality):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: save(image, 20),
        lambda image: image.resize((image.width * 2 // 3, image.height * 2 // 3)),
        lambda image: image.resize((image.width * 2, image.height * 2)),
        lambda image: ImageEnhance.Brightness(image).enhance(0.7),
        lambda image: ImageEnhance.Contrast(image).enhance(0.7),
        lambda image: image.convert("L").convert("RGB"),
    ],
    ids=["compressed", "reduced", "enlarged", "darker", "less contrast", "grey"],
)
def test_a_copy_is_like_its_sheet_and_other_sheets_are_not(sheets, change):
    first = np.array([hash_bits(sheet) for sheet in sheets])
    copies = np.array([hash_bits(change(sheet)) for sheet in sheets])
    apart = (first[:, None] != copies[None]).sum(2)
    assert np.diag(apart).max() <= NEAR_BITS
    assert apart[~np.eye(len(sheets), dtype=bool)].min() > NEAR_BITS


def hash_bits(image):
    return np.unpackbits(np.frombuffer(compute_perceptual_hash(np.asarray(image)), np.uint8))

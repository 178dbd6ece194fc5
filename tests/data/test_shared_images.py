import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from herbray.data.shared_images import join_gatherings
from herbray.data.sources.base import make_batch


def table(rows):
    images, gatherings, species = zip(*rows, strict=True)
    ids = [str(number) for number in range(len(rows))]
    columns = {"specimen_id": ids, "image": images, "gathering": gatherings, "species": species}
    return pa.Table.from_batches([make_batch({name: list(column) for name, column in columns.items()})])


def test_specimens_of_one_image_get_one_gathering():
    rows = [
        ("a.jpg", None, "A a"),
        ("a.jpg", None, "B b"),
        ("b.jpg", "g1", "A a"),
        ("b.jpg", None, "A a"),
        ("c.jpg", "g1", None),
        ("d.jpg", "g2", None),
        ("d.jpg", "g3", None),
        ("e.jpg", "g4", None),
        ("f.jpg", None, None),
    ]
    given = table(rows)
    joined, notes = join_gatherings(given, given["image"])
    image = "image a.jpg"
    assert joined["gathering"].to_pylist() == [image, image, "g1", "g1", "g1", "g2 + g3", "g2 + g3", "g4", None]
    assert joined.schema.equals(given.schema)
    assert notes == [
        "images of several specimens: 3 (6 rows; 1 with different species): each image stays on one side of the splits"
    ]


def test_a_catalogue_without_shared_images_stays_as_it_is():
    given = table([("a.jpg", "g", None), ("b.jpg", "g", None), ("c.jpg", None, None)])
    assert join_gatherings(given, given["image"]) == (given, [])


def test_groups_of_duplicates_get_one_gathering_too():
    given = table([("a.jpg", None, None), ("b.jpg", "g1", None), ("c.jpg", "g1", None), ("d.jpg", None, None)])
    first, second = pa.chunked_array([["x", "x", None, "y"]]), pa.chunked_array([[None, "z", None, "z"]])
    assert join_gatherings(given, given["image"], [pa.chunked_array([[None, None, None, "y"]])]) == (given, [])
    joined, notes = join_gatherings(given, given["image"], [first])
    assert joined["gathering"].to_pylist() == ["g1", "g1", "g1", None]
    assert notes == ["2 rows are duplicates that `herbray shard` found: each group stays on one side of the splits"]
    assert join_gatherings(given, given["image"], [first, second])[0]["gathering"].to_pylist() == ["g1"] * 4


def test_the_specimens_of_a_placeholder_are_not_kept_together():
    rows = [("none.jpg", f"g{number}", "A a") for number in range(101)]
    given = table([*rows, ("a.jpg", "g1", None), ("a.jpg", None, None)])
    joined, notes = join_gatherings(given, given["image"])
    assert joined["gathering"].to_pylist() == [*(row[1] for row in rows), "g1", "g1"]
    assert notes[0].startswith("none.jpg is the image of 101 specimens: is it a placeholder?")
    assert notes[1].startswith("images of several specimens: 1 (2 rows; ")


def test_a_key_of_many_gatherings_is_short():
    given = table([("a.jpg", f"g{number}", None) for number in range(9)])
    joined, _ = join_gatherings(given, given["image"])
    assert set(joined["gathering"].to_pylist()) == {"g0 + g1 + g2 + g3 + 5 more"}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.sampled_from("xyz"), st.none()), min_size=1))
def test_no_image_and_no_gathering_is_on_two_sides(rows):
    given_rows = table(rows)
    joined, _ = join_gatherings(given_rows, given_rows["image"])
    after = joined["gathering"].to_pylist()
    for column in (0, 1):
        for value in {row[column] for row in rows} - {None}:
            keys = {key for row, key in zip(rows, after, strict=True) if row[column] == value}
            images = [row[0] for row in rows]
            assert len(keys) == 1 or (column == 0 and images.count(value) == 1)
    assert all(new is not None for row, new in zip(rows, after, strict=True) if row[1] is not None)

import json
import resource
import subprocess
import sys

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from herbray.data.sources import json_stream
from herbray.data.sources.half_earth import HalfEarth
from herbray.data.sources.json_stream import stream_elements
from herbray.schema import CATALOGUE


def read(source):
    refused = []
    table = pa.Table.from_batches(source.read(lambda *row: refused.append(row)), schema=CATALOGUE)
    return table, refused


def metadata():
    return {
        "annotations": [
            {"id": 0, "image_id": 7, "category_id": 1, "institution_id": 0},
            {"id": 1, "image_id": 8, "category_id": 2, "institution_id": 1},
            {"id": 2, "image_id": 9, "category_id": 1, "institution_id": 5},
        ],
        "categories": [
            {"id": 1, "name": "Rubus caesius", "family": "Rosaceae", "order": "Rosales"},
            {"id": 2, "name": "× Sorbaronia fallax", "family": "Rosaceae", "order": "Rosales"},
        ],
        "images": [
            {"id": number, "width": 672, "height": 1000, "file_name": f"images/000/01/{number}.jpg", "license": 0}
            for number in (9, 8, 7)
        ],
        "info": {"year": 2021, "nested": [[{"a": "]}"}]]},
        "institutions": [{"id": 0, "name": "NY"}, {"id": 1, "name": "Bishop Museum"}],
        "licenses": [{"id": 0, "name": "CC BY-NC 4.0", "url": "u"}],
    }


def write(folder, content):
    (folder / "train").mkdir(exist_ok=True)
    (folder / "train/metadata.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return HalfEarth(path=folder)


def test_sections_are_joined_into_specimens(tmp_path):
    table, refused = read(write(tmp_path, metadata()))
    assert refused == []
    first, second, third = table.to_pylist()
    assert first == dict.fromkeys(CATALOGUE.names) | {
        "specimen_id": "half-earth-2021/7",
        "image": str(tmp_path / "train/images/000/01/7.jpg"),
        "order": "Rosales",
        "family": "Rosaceae",
        "genus": "Rubus",
        "species": "Rubus caesius",
        "institution": "NY",
        "license": "CC BY-NC 4.0",
    }
    assert (second["genus"], second["species"], second["institution"]) == ("Sorbaronia", "× Sorbaronia fallax", "BPBM")
    assert third["institution"] is None


def test_the_sections_may_come_in_any_order_and_with_the_older_names(tmp_path):
    expected, _ = read(write(tmp_path, metadata()))
    old = json.dumps(dict(reversed(metadata().items()))).replace("institution", "region")
    table, refused = read(write(tmp_path, old))
    assert refused == []
    assert table.equals(expected)


def test_the_metadata_are_found_from_each_place(tmp_path):
    expected, _ = read(write(tmp_path, metadata()))
    for path in (tmp_path / "train", tmp_path / "train/metadata.json"):
        assert read(HalfEarth(path=path))[0].equals(expected)
    with pytest.raises(ValueError, match=r"neither metadata\.json nor train"):
        read(HalfEarth(path=tmp_path / "elsewhere"))


def test_what_points_nowhere_or_outside_is_refused(tmp_path):
    content = metadata()
    content["images"][0]["file_name"] = "../../etc/passwd"  # image 9
    content["images"] += [{"id": 10, "file_name": "images/10.jpg"}, {"id": 11}, {"id": 12, "file_name": "\ud800"}, 5]
    content["annotations"] += [
        {"id": 3, "image_id": 99, "category_id": 1, "institution_id": 0},
        {"id": 4, "image_id": 10, "category_id": 99, "institution_id": 0},
        {"id": 5, "image_id": "7", "category_id": 1, "institution_id": 0},
        {"id": 6, "image_id": 1 << 64, "category_id": 1, "institution_id": 0},
    ]
    table, refused = read(write(tmp_path, content))
    assert table["specimen_id"].to_pylist() == ["half-earth-2021/7", "half-earth-2021/8"]
    assert sorted((row[0] or "", row[2]) for row in refused) == [
        ("", "malformed"),
        ("", "malformed"),
        ("", "malformed"),
        ("", "malformed"),
        ("", "malformed"),
        ("half-earth-2021/10", "no_category"),
        ("half-earth-2021/9", "outside"),
        ("half-earth-2021/99", "no_image"),
    ]


def test_an_image_whose_only_annotation_is_malformed_is_refused_and_counted_once(tmp_path):
    content = metadata()
    content["annotations"][0]["category_id"] = None  # of image 7
    content["annotations"].append({"id": 3, "image_id": 8})  # beside a sound one
    table, refused = read(write(tmp_path, content))
    assert table["specimen_id"].to_pylist() == ["half-earth-2021/8", "half-earth-2021/9"]
    assert [row[:3] for row in refused] == [
        ("half-earth-2021/7", None, "malformed"),
        ("half-earth-2021/8", None, "malformed"),
    ]
    assert len(table) + len(refused) == len(content["annotations"])


def test_after_a_malformed_element_of_any_section_the_rest_is_read(tmp_path):
    content = metadata()
    for name in ("categories", "institutions", "licenses"):
        content[name].insert(0, {"id": "no number", "name": ["no text"]})
    due, _ = read(write(tmp_path, metadata()))
    found, refused = read(write(tmp_path, content))
    assert found.equals(due)
    assert refused == []


def test_of_two_images_of_one_id_the_later_is_refused(tmp_path):
    content = metadata()
    content["images"] += [{"id": 7, "file_name": "other/7.jpg"}, {"id": 20, "file_name": "20.jpg"}]
    content["images"].append({"id": 20, "file_name": "again/20.jpg"})  # without an annotation
    table, refused = read(write(tmp_path, content))
    numbers = [f"half-earth-2021/{number}" for number in (7, 8, 9, 20)]
    assert table["specimen_id"].to_pylist() == numbers
    assert [row[:3] for row in refused] == [
        (numbers[0], "other/7.jpg", "duplicate"),
        (numbers[3], "again/20.jpg", "duplicate"),
    ]
    assert table["image"][0].as_py().endswith("images/000/01/7.jpg")


def test_images_without_annotations_are_undetermined_specimens(tmp_path):
    content = metadata()
    del content["annotations"], content["categories"], content["institutions"]
    table, refused = read(write(tmp_path, content))
    assert refused == []
    assert table["specimen_id"].to_pylist() == [f"half-earth-2021/{number}" for number in (9, 8, 7)]
    assert table["genus"].null_count == 3
    assert set(table["license"].to_pylist()) == {"CC BY-NC 4.0"}


def test_a_second_annotation_gives_a_second_row_of_the_same_id(tmp_path):
    content = metadata()
    content["annotations"].append({"id": 9, "image_id": 7, "category_id": 2, "institution_id": 0})
    table, _ = read(write(tmp_path, content))
    assert table["specimen_id"].to_pylist().count("half-earth-2021/7") == 2


def test_more_rows_than_a_batch_are_all_there(tmp_path, monkeypatch):
    content = metadata()
    content["images"] += [{"id": number, "file_name": f"{number}.jpg"} for number in range(20, 25)]
    expected, _ = read(write(tmp_path, content))
    monkeypatch.setattr("herbray.data.sources.challenge.BATCH_ROWS", 2)
    batches = list(HalfEarth(path=tmp_path).read(print))
    assert [part.num_rows for part in batches] == [2, 1, 2, 2, 1]
    assert pa.Table.from_batches(batches).equals(expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "fi', "in images: .*download interrupted"),
        ('{"images": [{"id": 1, "file_name": "a.jpg"}', "in images: the file ends here"),
        ('{"images": [{"id": 1} {"id": 2}]}', "in images: , or ] expected, '{' found"),
        ('{"info": {}, }', "not valid JSON near character"),
        ("[]", "{ expected, '\\[' found"),
        ("", "the file ends here"),
        ('{"images": ' + "[" * 200_000, "nested too deeply"),
        ("{}", "lists no `images`"),
    ],
)
def test_broken_metadata_are_an_error_that_names_the_place(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, content))


@pytest.mark.parametrize("start", ['{"id": "x', "1.0", "[[0], "])
def test_an_endless_element_is_refused_before_it_fills_memory(tmp_path, start):
    with pytest.raises(ValueError, match="not valid JSON"):
        read(write(tmp_path, f'{{"images": [{start}' + "0" * (json_stream.MAX_ELEMENT_CHARS * 2)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4), st.integers(1, 9), st.sampled_from([None, 2]))
def test_streaming_equals_the_standard_parser_at_every_window_size(tmp_path_factory, content, chunk, indent):
    path = tmp_path_factory.mktemp("json") / "any.json"
    path.write_text(json.dumps(content, indent=indent))
    expected = [
        (key, element) for key, value in content.items() for element in (value if isinstance(value, list) else [value])
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_CHARS", chunk)
        assert list(stream_elements(path)) == expected


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    sheet = json.dumps({"id": 1, "file_name": "x" * 2000, "note": "y" * 2000})
    for name, count in (("small", 2_000), ("large", 30_000)):
        (tmp_path / name).write_text(f'{{"images": [{",".join([sheet] * count)}]}}')
    script = (
        "import resource, sys, pathlib; from herbray.data.sources.json_stream import stream_elements\n"
        "for _ in stream_elements(pathlib.Path(sys.argv[1])): pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    small, large = (
        int(subprocess.run([sys.executable, "-c", script, tmp_path / name], check=True, capture_output=True).stdout)
        for name in ("small", "large")
    )
    assert (tmp_path / "large").stat().st_size > 100e6
    assert large - small < 20_000 * resource.getpagesize() / 4096  # KiB, of 117 MiB read

import codecs
import math
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from herbray.settings import job_files, strict_yaml
from herbray.settings.strict_yaml import YamlRefused, decode, read

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' is given twice (first in line 1); keep one of them"),
        ("x: {b: 1, b: 2}", "line 1: key 'b' is given twice"),
        ("<<: {a: 1}\n<<: {b: 1}", "line 2: key '<<' is given twice"),
        ("1: a\n'1': b", "line 2: key '1' is given twice"),
        ("a: 1\nb: !path x", "line 2: tag !path: a configuration must not contain tags"),
        ("a: !!python/object/apply:os.system [x]", "line 1: tag !!python/object/apply:os.system: a configuration"),
        ("a: !!set {x}", "line 1: tag !!set:"),
        ("a: !!timestamp 2021-06-01", "line 1: tag !!timestamp:"),
        ("!x k: 1", "line 1: tag !x:"),
        ("a: !!int twelve", "line 1: 'twelve' is not of type int"),
        ("[" * 60_000, "line 1: nested deeper than 50 levels"),
        ("{a: " * 15_000, "line 1: nested deeper than 50 levels"),
        ("- " * 30_000, "line 1: nested deeper than 50 levels"),
        ("\n".join(" " * depth + "a:" for depth in range(300)), "line 50: nested deeper than 50 levels"),
        ("a: &a [*a]", "line 1: nested deeper than 50 levels, or an alias inside its own anchor"),
        ("a: &a {<<: *a}", "or an alias inside its own anchor"),
        (BOMB, "more than 10,000 values, aliases expanded"),
        (MERGE_BOMB, "more than 10,000 values, aliases expanded"),
        (f"a: [{'1,' * 20_000}]", "more than 10,000 values"),
        ("a:\n\tb: 1", "line 2: not valid YAML (while scanning for the next token, found character '\\t' that cannot"),
        ("a:\n\tb: 1", "; indent with spaces, not with tabs"),
        ("title: Sheets: all", "put text that holds ': ' into quotes"),
        ("a: [1", "close the bracket"),
        ("a: 'x", "close the quote"),
        ('path: "C:\\data"', "use single quotes"),
        ("a: *x", "found undefined alias 'x'); put &NAME before"),
        ("a: &x 1\nb: &x 2", "line 2: not valid YAML (found duplicate anchor 'x'"),
        ("model: @x", "put text that begins with a special character into quotes"),
        ("a: 1\n---\nb: 2", "keep one document per file"),
        ("a: 1\nb: \x07", "line 2: not valid YAML (special characters are not allowed (U+0007)); remove the control"),
        ("a: \ud800", "U+D800"),
        ("? [a]\n: 1", "line 1: a list or mapping as a key"),
        ("<<: 3", "`<<` takes a mapping or a list of mappings"),
        ("<<: [{a: 1}, 3]", "`<<` takes a mapping or a list of mappings"),
        (f"a: {'9' * 5000}", "line 1: a number of 5000 digits"),
    ],
)
def test_refused_text_gives_a_quick_one_line_error(text, message):
    began = time.process_time()
    with pytest.raises(YamlRefused) as caught:
        read(text)
    assert time.process_time() - began < 5
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("NO", "NO"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("2021-06-01", "2021-06-01"),
        ("2021-06-01 12:30:00", "2021-06-01 12:30:00"),
        ("12:30", "12:30"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("12", 12),
        ("-3", -3),
        ("2_000_000", 2_000_000),
        ("1.5", 1.5),
        ("1.0e-3", 1e-3),
        ("1e-3", "1e-3"),  # as in PyYAML; a numeric setting converts it
        ("-.inf", -math.inf),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_a_plain_scalar_is_what_it_looks_like(text, value):
    found = read(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_nan_is_a_number():
    assert math.isnan(read("a: .nan")["a"])


def test_a_key_is_text_whatever_it_looks_like():
    keys = ["1", "1.5", "no", "true", "null", ".nan", "2021-06-01", "~", "="]
    assert list(read("".join(f"{key}: 1\n" for key in keys))) == keys


def test_merge_keys_follow_the_specification():
    text = "a: &a {x: 1, y: 2}\nb: &b {x: 3, z: 4}\nc: {y: 9, <<: [*a, *b]}\nd: {<<: *b}"
    assert read(text)["c"] == {"x": 1, "y": 9, "z": 4}
    assert read(text)["d"] == {"x": 3, "z": 4}


def test_aliases_are_copies():
    tree = read("a: &a {x: {y: 1}}\nb: *a\nc: {<<: *a}")
    tree["a"]["x"]["y"] = 2
    assert tree["b"] == tree["c"] == {"x": {"y": 1}}


@pytest.mark.parametrize("path", sorted(job_files.find_folder().rglob("*.yaml")), ids=lambda path: path.stem)
def test_files_that_ship_are_read_as_by_pyyaml(path):
    text = path.read_text(encoding="utf-8")
    assert read(text) == yaml.safe_load(text)
    assert 10 * len(text) < strict_yaml.MAX_BYTES


@pytest.mark.parametrize(
    "data",
    [
        "title: Isoëtes\n".encode(),
        codecs.BOM_UTF8 + "title: Isoëtes\n".encode(),
        "title: Isoëtes\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + "title: Isoëtes\n".encode("utf-16-be"),
        "title: Isoëtes\r\n".encode(),
    ],
)
def test_unicode_with_or_without_a_byte_order_mark(data):
    assert read(decode(data)) == {"title": "Isoëtes"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a: 1\ntitle: Isoëtes".encode("latin-1"), "line 2: neither UTF-8 nor UTF-16"),
        (codecs.BOM_UTF16_LE + b"a", "neither UTF-8 nor UTF-16"),
        (b" " * (strict_yaml.MAX_BYTES + 1), "longer than 64 KiB"),
    ],
)
def test_bytes_that_are_not_text_are_refused(data, message):
    with pytest.raises(YamlRefused, match=message):
        decode(data)


plain = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text()
keys = st.text(max_size=8)
trees = st.recursive(plain, lambda below: st.lists(below, max_size=4) | st.dictionaries(keys, below, max_size=4))


@pytest.mark.slow
@settings(deadline=None)
@given(st.dictionaries(keys, trees, max_size=5))
def test_what_pyyaml_writes_is_read_as_pyyaml_reads_it(tree):
    text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    assert read(text) == yaml.safe_load(text)


SIGNS = ["&a ", "*a", "<<: *a\n", "\t", "- ", "? ", ": ", *"{}[]", "!!set ", "'", '"', "|\n", ">\n", "#", "---\n"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(SIGNS) | st.text(max_size=3), max_size=40).map("".join))
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        read(text)
        told = ""
    except YamlRefused as error:
        told = str(error)
    assert "\n" not in told

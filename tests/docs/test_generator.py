import re
import tomllib
from pathlib import Path

import build_site
import commands_page
import pytest
import python_page
import settings_pages
import tables_page
import yaml

from herbray import cli, schema
from herbray.settings.marks import flatten

ROOT = Path(__file__).parents[2]
VERBS = [verb for verb in cli.VERBS if verb not in settings_pages.ALIASES]


@pytest.mark.parametrize("verb", VERBS)
def test_every_setting_has_a_type_and_a_description(verb):
    for key in settings_pages.keys(verb):
        assert key.type, key.path
        assert key.description, f"{key.path}: add a description to the field of the model"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("study", "tune", "benchmark")])
def test_every_key_of_the_files_that_ship_is_in_the_reference(verb):
    known = {re.sub(r"\[\]", "", key.path) for key in settings_pages.keys(verb)}
    for path in (ROOT / "jobs").glob(f"{verb}*.yaml"):
        for key in flatten(yaml.safe_load(path.read_text(encoding="utf-8")) or {}):
            parents = {key.rsplit(".", depth)[0] for depth in range(key.count(".") + 1)}
            assert parents & known, f"{path}: {key}"


def test_a_setting_is_shown_as_it_is_written():
    train = {(key.path, key.alternative): key for key in settings_pages.keys("train")}
    assert train["optimizer.lr", ""].type == "number > 0"
    assert train["optimizer.lr", ""].default == "0.001"
    assert train["encoder.size", ""].type == "whole number ≥ 16, ≤ 2048"
    assert train["keep", ""].type == "`best`, `last`"
    assert train["workers", ""].default == "null"
    assert train["workers.max", ""].default == "required"
    assert train["objective.margin", "objective.name: triplet"].default == "0.1"
    assert train["label", ""].type == "text (1 to 40 characters), or null"


def test_defaults_are_those_of_the_place_not_of_the_class():
    tasks = {key.alternative: key.default for key in settings_pages.keys("evaluate") if key.path == "tasks[].max_iter"}
    assert tasks["tasks[].name: identify"] == "5000"
    assert tasks["tasks[].name: mislabel"] == "2500"


def test_the_settings_of_another_verb_are_linked_not_repeated():
    study = settings_pages.page("study")
    assert "[the keys of `train`](train.md)" in study
    assert "optimizer.lr" not in study


def test_attributes_of_a_docstring_describe_fields_of_parents_too():
    words = settings_pages.attributes(settings_pages.spec_of("catalogue"))
    assert words["source"].startswith("source of the specimens")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), ((), "[]"), ((1, 2), "[1, 2]"), ({"a": 1}, "{a: 1}"), ("", '""'), (0.5, "0.5")],
)
def test_defaults_read_as_yaml(value, text):
    assert settings_pages.yaml_text(value) == text


def test_the_python_page_follows_the_docstrings():
    page = python_page.page()
    assert "## `herbray.load_encoder`" in page
    assert "- `images`: n JPEG or PNG files as bytes" in page
    assert "**Raises**" in page
    assert "Args:" not in page


def test_a_docstring_becomes_lists():
    text = "Do it.\n\nArgs:\n    a: first\n        line two.\n    b: second.\n\nReturns:\n    Float [n].\n"
    assert list(python_page.markdown(text)) == [
        "Do it.",
        "**Args**",
        "- `a`: first line two.\n- `b`: second.",
        "**Returns**",
        "- Float [n].",
    ]


def test_every_table_is_in_the_reference():
    page = tables_page.page()
    for name in tables_page.TABLES:
        table = schema.embedding_schema(512) if name == "EMBEDDING" else getattr(schema, name)
        assert all(f"| `{column}` |" in page for column in table.names)
    assert tables_page.remarks("SUSPECT")["image"].startswith("path or URI")
    assert tables_page.remarks("MASKED_CATALOGUE")["species"].startswith("genus and epithet")
    assert tables_page.remarks("QUARANTINE")["reason"].startswith("a short stable code")


def test_every_command_is_in_the_reference():
    page = commands_page.page()
    assert all(f"## `herbray {name}`\n" in page for name in [*cli.VERBS, "init", "benchmark-page", "version"])
    assert page.count("## `") == len(cli.VERBS) + 3


def test_links_are_rewritten_for_the_site():
    places = {"docs/a.md": "a.md", "docs/how-to/b.md": "how-to/b.md", "CHANGELOG.md": "changelog.md"}
    text = "[b](how-to/b.md#x) [c](../CHANGELOG.md) [code](../Makefile) [gone](gone.md) [out](https://example.org/x.md)"
    assert build_site.relinked(text, "docs/a.md", places) == (
        "[b](how-to/b.md#x) [c](changelog.md) code [gone](gone.md) [out](https://example.org/x.md)"
    )
    assert build_site.relinked("[a](docs/a.md)", "CHANGELOG.md", places) == "[a](a.md)"


def test_every_page_of_the_site_is_in_its_navigation(tmp_path):
    nav = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]
    listed = re.findall(r"'([\w/-]+\.md)'", str(nav))
    count = build_site.build(tmp_path / "docs")
    there = {path.relative_to(tmp_path / "docs").as_posix() for path in (tmp_path / "docs").rglob("*.md")}
    assert count == len(there)
    index = (tmp_path / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    assert all(f"]({verb}.md)" in index for verb in VERBS)
    assert sorted(listed) == sorted(there)

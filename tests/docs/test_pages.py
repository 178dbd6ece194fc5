import importlib
import re
from pathlib import Path

import pytest
import yaml

import herbray
from herbray import cli, config
from herbray.tasks import TASKS

ROOT = Path(__file__).parents[2]
AT_THE_ROOT = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
PAGES = [*AT_THE_ROOT, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
ALL = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES if page != "docs/benchmark.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_and_images_resolve(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"


def test_every_page_is_linked_from_the_index():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        folder, _, name = page.removeprefix("docs/").rpartition("/")
        if page.startswith("docs/") and name != "index.md" and folder != "benchmark-remarks":
            assert f"]({page.removeprefix('docs/')})" in index, page


def test_commands_exist():
    targets = set(re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[0].split())
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)(?=`| *(?:#.*)?$)", ALL, re.M))  # in code, not in prose
    assert {"demo", "test", "docs", "lint"} <= named <= targets
    assert set(re.findall(r"herbray ([a-z]+) (?:jobs/|my)", ALL)) <= set(cli.VERBS)
    for path in re.findall(r"(?<!kuberay/)jobs/[a-z0-9/-]+\.(?:py|yaml)", ALL):
        assert (ROOT / path).exists(), path


def test_every_file_of_the_source_that_a_page_names_exists():
    named = set(re.findall(r"`((?:herbray|tests|docs|jobs|cluster)/[\w./-]*)`", ALL))
    assert {"herbray/data/sources/folder.py", "herbray/report/figures/map.py"} <= named
    placeholders = {path for path in named if "NAME" in path}
    assert not [path for path in named - placeholders if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", ["design.md", "how-to/labels.md"])
def test_tasks_are_called_by_their_names(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    rows = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| ((?:`\w+`(?:, )?)+)[^|]*\|.*\|$", text, re.M)]
    named = {name for row in rows for name in row}
    assert set(TASKS) <= named


def test_the_architecture_names_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for folder in (ROOT / "herbray", ROOT / "herbray" / "flow"):
        for room in folder.iterdir():
            if (room / "__init__.py").is_file():
                assert f"`{room.relative_to(ROOT).as_posix()}/`" in page, room


@pytest.mark.parametrize(
    "word",
    "specimen sheet catalogue gathering determination rank herbarium encoder embedding margin shard bag window split "
    "task outcome candidate champion".split(),
)
def test_the_glossary_has_the_words_of_the_field(word):
    assert f"| **{word}** |" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_citation_is_of_this_version_and_of_the_study():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["version"] == herbray.__version__
    assert cited["authors"] == [{"name": "herbray developers"}]
    (study,) = cited["references"]
    assert study["doi"] == "10.3389/fpls.2021.806407"
    assert [author["family-names"] for author in study["authors"]] == ["Walker", "Tucker", "Nicolson"]


def test_the_hooks_run_commands_of_the_environment():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].partition("\n\n")[0]
    for hook in hooks[0]["hooks"]:
        assert hook["entry"].split()[0].replace(".venv/bin", "$(BIN)") in lint


def test_the_recipe_for_ones_own_images_writes_out_nothing_that_labels_may_not_allow():
    page = (ROOT / "docs" / "how-to" / "your-images.md").read_text(encoding="utf-8")
    mine = yaml.safe_load(re.findall(r"```yaml\n(out: runs/mine.+?)```", page, re.S)[0])
    demo = yaml.safe_load((ROOT / "jobs" / "demo.yaml").read_text(encoding="utf-8"))
    spec = config.parse(importlib.import_module("herbray.flow.study.job").Study, demo | mine)
    assert mine.keys() == {"out", "catalogue"}
    assert not {"home", "species"} & spec.shard.splits.model_fields_set
    assert "splits" not in spec.embed.model_fields_set
    assert not set().union(*(task.model_fields_set - {"name"} for task in spec.evaluate.tasks))

import pytest
from typer.testing import CliRunner

from herbray import cli
from herbray.settings import help_texts, job_files


def shown(*words):
    done = CliRunner().invoke(cli.app, [*words, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0
    return " ".join(done.output.split())


def test_every_verb_is_under_one_heading():
    assert sorted(verb for verbs in help_texts.PANELS.values() for verb in verbs) == sorted(cli.VERBS)


def test_the_help_says_where_to_start():
    page = shown()
    assert "`herbray demo` runs all stages within minutes. `herbray init` writes commented YAML files" in page
    assert page.index("Start here") < page.index("demo ") < page.index("Stages") < page.index("For developers")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_help_of_a_verb_has_an_example_that_ships(verb):
    page = shown(verb)
    assert f"{cli.VERBS[verb][3]} For example: `herbray {verb} {help_texts.EXAMPLES[verb]}`" in page
    assert "KEY=VALUE" in page
    first = help_texts.EXAMPLES[verb].split()[0]
    if first.startswith("jobs/"):
        assert (job_files.find_folder().parent / first).is_file()
    if verb not in ("register", "promote", "benchmark"):
        assert "`herbray init` writes" in page


def test_init_says_what_it_writes_and_where():
    page = shown("init")
    assert "Write the shipped YAML files, with comments, into FOLDER/jobs." in page
    assert "--force" in page

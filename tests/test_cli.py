import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from herbray import cli, config

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_a_job_and_its_yaml_loads(verb):
    module, kind, function, _ = cli.VERBS[verb]
    loaded = importlib.import_module(module)
    shipped = [path for path in (ROOT / "jobs").glob("*.yaml") if path.stem.partition("-")[0] == verb]
    assert shipped
    for path in shipped:
        assert isinstance(config.load(getattr(loaded, kind), path), config.Spec)
    assert callable(getattr(loaded, function))
    assert f'main(["{verb}", ' in (ROOT / "jobs" / f"{verb}.py").read_text(encoding="utf-8")


def test_every_yaml_that_ships_belongs_to_a_verb():
    assert {path.stem.partition("-")[0] for path in (ROOT / "jobs").glob("*.yaml")} == set(cli.VERBS)


def test_a_wrong_key_ends_in_one_clear_line_and_exit_code_one(capsys):
    assert cli.run("catalogue", ROOT / "jobs" / "catalogue.yaml", ["source.sheeets=3"]) == 1
    error = capsys.readouterr().err
    assert "source.sheeets: unknown key; did you mean 'sheets'?" in error


def test_an_override_may_replace_the_file_argument(capsys):
    assert cli.run("shard", Path("catalogue=nowhere-at-all"), []) == 1
    assert "nowhere-at-all" in capsys.readouterr().err


@pytest.mark.slow
def test_help_names_every_verb_and_is_quick_to_import():
    code = "import sys, herbray.cli; print(sorted({'torch', 'ray', 'mlflow', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    done = subprocess.run([sys.executable, "-m", "herbray.cli", "--help"], capture_output=True, text=True, check=True)
    assert all(verb in done.stdout for verb in cli.VERBS)


def test_a_loss_that_is_not_finite_gives_a_one_line_error(tmp_path, capsys, monkeypatch):
    def diverged(spec):
        raise FloatingPointError("the training loss is nan: lower optimizer.lr")

    monkeypatch.setattr(importlib.import_module(cli.VERBS["shard"][0]), "shard", diverged)
    assert cli.run("shard", None, [f"out={tmp_path}/out"]) == 1
    assert capsys.readouterr().err == "herbray shard: the training loss is nan: lower optimizer.lr\n"


def test_a_traceback_contains_no_secrets(tmp_path, capsys, monkeypatch):
    def broken(spec):
        raise RuntimeError(f"API request to http://ann:s3cret@host:5000/api failed \x1b[31m {spec.seed}")

    monkeypatch.setattr(importlib.import_module(cli.VERBS["shard"][0]), "shard", broken)
    assert cli.run("shard", None, ["seed=7", f"out={tmp_path}/out"]) == 1
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.splitlines()[-1].startswith("RuntimeError: API request to http://***@host:5000/api failed")
    assert "http://***@host:5000/api failed" in told
    assert "\x1b" not in told
    assert "s3cret" not in told

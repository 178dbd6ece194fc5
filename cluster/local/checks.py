"""What the rehearsal looks at: refusals, files under the root, the registry, and the same work on local files."""

import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as parquet
from processes import StepFailed
from pyarrow import fs
from services import DIRECT, Services, basic

from cluster import Cluster

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent


def refusals(cluster: Cluster) -> str:
    """A wrong token, no account, a wrong password and a wrong host, each refused by the part that it meets."""
    services = _services(cluster)
    runs = f"{services.tracking}/api/2.0/mlflow/experiments/search?max_results=1"
    wrong = {"Authorization": basic("herbray", "wrong")}
    right = {"Authorization": basic("herbray", services.secrets["account"])}
    found = {
        "no token": _status(f"{cluster.ray.address}/api/jobs/", {}),
        "wrong token": _status(f"{cluster.ray.address}/api/jobs/", {"Authorization": f"Bearer {'0' * 64}"}),
        "no account": _status(runs, {}),
        "wrong password": _status(runs, wrong),
        "wrong host": _status(runs, right | {"Host": "elsewhere.example"}),
        "right": _status(runs, right),
    }
    expected = {"no token": 401, "wrong token": 403, "no account": 401, "wrong password": 401, "wrong host": 403}
    if found != expected | {"right": 200}:
        raise StepFailed(f"expected {expected}, and 200 for the right account; found {found}")
    return ", ".join(f"{name} {status}" for name, status in found.items())


def _status(url: str, headers: Mapping[str, str]) -> int:
    try:
        with DIRECT.open(urllib.request.Request(url, headers=dict(headers)), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def find_secrets(cluster: Cluster, names: Sequence[str]) -> str:
    """What everyone who may see jobs can read of them: no password, no key."""
    listed = json.dumps(cluster.ray.ask("/api/jobs/"))
    secrets = {*_services(cluster).secrets.values(), cluster.ray.token}
    if any(secret in listed for secret in secrets) or any(name in listed for name in names):
        raise StepFailed("a secret is shown beside the jobs")
    return f"{listed.count('submission_id')} jobs, {len(secrets)} secrets, none shown"


def artifact_source(cluster: Cluster, model: str, alias: str) -> str:
    """Where the registry says that the files of a version lie."""
    url = f"{_services(cluster).tracking}/api/2.0/mlflow/registered-models/alias?name={model}&alias={alias}"
    headers = {"Authorization": basic("herbray", _services(cluster).secrets["account"])}
    with DIRECT.open(urllib.request.Request(url, headers=headers), timeout=60) as answer:
        version = json.load(answer)["model_version"]
    return f"{version['source']} (version {version['version']})"


def pull_without_herbray(cluster: Cluster, uri: str) -> str:
    """A new environment with what the model's own requirements name, and nothing else, loads the model by pyfunc."""
    folder = cluster.ray.folder
    python = folder / "pyfunc" / "bin" / "python"
    names = ("PATH", "HOME", "TMPDIR", *(name for name in os.environ if name.startswith(("UV_", "PIP_", "SSL_"))))
    variables = {name: os.environ[name] for name in names if name in os.environ}
    variables |= {"MLFLOW_TRACKING_URI": _services(cluster).tracking, "NO_PROXY": "127.0.0.1"} | _services(
        cluster
    ).account
    ours = _run([sys.executable, HERE / "pyfunc.py", "ask", uri, folder], variables)
    uv = [sys.executable, "-m", "uv", "--quiet"]
    _run([*uv, "venv", "--python", sys.executable, folder / "pyfunc"], variables)
    lock = ["--constraint", ROOT / "requirements.lock"]
    _run([*uv, "pip", "install", "--python", python, "-r", folder / "requirements.txt", *lock], variables)
    theirs = _run([python, HERE / "pyfunc.py", "predict", uri, folder], variables)
    if json.loads(theirs)["vectors"] != json.loads(ours)["vectors"]:
        raise StepFailed("pyfunc gives other numbers than herbray.load_encoder")
    return f"{json.loads(theirs)['packages']} packages, herbray is none of them; the numbers of herbray.load_encoder"


def make_bare_python(folder: Path) -> Path:
    """A new environment with Ray, of the lock file's version, and without herbray; returns its interpreter."""
    python = folder / "venv" / "bin" / "python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    _run([*uv, "venv", "--python", sys.executable, folder / "venv"], os.environ)
    lock = ["--constraint", ROOT / "requirements.lock"]
    _run([*uv, "pip", "install", "--python", python, "ray[default]", "pip", "virtualenv", *lock], os.environ)
    if subprocess.run([python, "-c", "import herbray"], cwd="/", capture_output=True).returncode == 0:
        raise StepFailed(f"{python} can import herbray: this would prove nothing")
    return python


def _run(words: Sequence[object], variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        [str(word) for word in words], env=dict(variables), capture_output=True, text=True, timeout=1800
    )
    if done.returncode:
        raise StepFailed(f"{words[1]} ended with {done.returncode}: {done.stderr[-600:]}")
    return done.stdout


def _services(cluster: Cluster) -> Services:
    if cluster.services is None:
        raise StepFailed("there is no tracking server")
    return cluster.services


class Place:
    """Files under a root, which is a folder or an address in the store."""

    def __init__(self, root: str, services: Services | None = None) -> None:
        """Connect; `services` has the store of an address."""
        if root.startswith("s3://") and services is not None:
            keys = services.store
            self.system = fs.S3FileSystem(
                access_key=keys["AWS_ACCESS_KEY_ID"],
                secret_key=keys["AWS_SECRET_ACCESS_KEY"],
                endpoint_override=keys["AWS_ENDPOINT_URL"],
                region=keys["AWS_DEFAULT_REGION"],
            )
        else:
            self.system = fs.LocalFileSystem()
        self.root = root.removeprefix("s3://")

    def list(self, path: str) -> list[str]:
        """Paths of all files below, relative to `path`."""
        base = f"{self.root}/{path}"
        found = self.system.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
        return sorted(each.path.removeprefix(f"{base}/") for each in found if each.type == fs.FileType.File)

    def read(self, path: str) -> bytes:
        """A file; empty if it does not exist."""
        try:
            with self.system.open_input_stream(f"{self.root}/{path}") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return b""

    def table(self, path: str) -> Any:  # noqa: ANN401 - an Arrow table
        """A Parquet file."""
        return parquet.read_table(f"{self.root}/{path}", filesystem=self.system)


def checkpoints(place: Place, out: str) -> list[int]:
    """Windows consumed, of each sealed checkpoint."""
    names = {Path(file).parent.name for file in place.list(f"{out}/checkpoints") if file.endswith("training.pt")}
    return sorted(int(name) for name in names if name.isdigit())


def count_rows(place: Place, out: str) -> int:
    """Reports that a training has written."""
    return len(place.read(f"{out}/metrics.jsonl").splitlines())


def same_on_local_files(there: Place, here: Place, steps: Mapping[str, Sequence[str]]) -> str:
    """Repeat the steps in a folder, without a cluster that exists and without a tracking server; compare bit by bit."""
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "HERBRAY_"))
    }
    variables |= {
        "HERBRAY_ROOT": here.root,
        "HERBRAY_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "",
    }
    _run(
        [sys.executable, HERE / "on_files.py", json.dumps({name: [*words] for name, words in steps.items()})], variables
    )
    weights = [digest(place, "runs/train/classifier/encoder/encoder.safetensors") for place in (there, here)]
    catalogues = [fingerprint(place, "runs/catalogue") for place in (there, here)]
    shards = [fingerprint(place, "runs/shards") for place in (there, here)]
    pairs = {"catalogue": catalogues, "shards": shards, "weights": weights}
    if different := [name for name, (one, other) in pairs.items() if one != other or not one]:
        raise StepFailed(f"not the same on local files: {', '.join(different)}: {pairs}")
    return "equal: " + ", ".join(f"{name} {one[:8]}" for name, (one, _) in pairs.items())


def fingerprint(place: Place, folder: str) -> str:
    """Of a table, from its manifest."""
    return str(json.loads(place.read(f"{folder}/manifest.json") or b"{}").get("fingerprint", ""))


def digest(place: Place, file: str) -> str:
    """SHA-256 of a file; empty if there is none."""
    content = place.read(file)
    return hashlib.sha256(content).hexdigest() if content else ""

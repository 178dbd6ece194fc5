"""The tracking server: valid manifests and Compose file; on one host it starts, is backed up, lost and restored."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from manifests import CLUSTER, find_faults

MLFLOW = CLUSTER / "mlflow"
FOLDERS = [MLFLOW / "kubernetes" / name for name in ("base", "self-hosted")]
SECRETS = {
    "POSTGRES_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_object_is_strictly_valid(render, folder):
    assert [fault for thing in render(folder) for fault in find_faults(thing)] == []


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [("CronJob", {"every": "night"}), ("Deployment", {"replicas": "one"}), ("StatefulSet", {"service": "x"})],
)
def test_a_wrong_field_is_found(render, kind, wrong):
    thing = next(thing for thing in render(FOLDERS[1]) if thing["kind"] == kind)
    assert find_faults(thing | {"spec": thing["spec"] | wrong}) != []


def test_every_pod_meets_the_restricted_standard_and_takes_secrets_by_reference(render):
    things = render(FOLDERS[1])
    assert not [thing for thing in things if thing["kind"] == "Secret"]
    pods = [thing["spec"]["template"]["spec"] for thing in things if "template" in thing.get("spec", {})]
    pods += [thing["spec"]["jobTemplate"]["spec"]["template"]["spec"] for thing in things if thing["kind"] == "CronJob"]
    assert len(pods) == 6
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"] + pod.get("initContainers", []):
            locked = container["securityContext"]
            assert (locked["allowPrivilegeEscalation"], locked["readOnlyRootFilesystem"]) == (False, True)
            assert locked["capabilities"] == {"drop": ["ALL"]}
            assert not [v for v in container.get("env", []) if v["name"] in SECRETS and "value" in v]


def test_jobs_call_the_server_by_a_name_that_it_allows(render):
    allowed = settings(render(FOLDERS[1]), "mlflow-settings")["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    address = settings(render(CLUSTER / "kuberay" / "overlays" / "cpu"), "herbray-settings")["MLFLOW_TRACKING_URI"]
    assert address.removeprefix("http://") in allowed


def settings(things, name):
    maps = [thing for thing in things if thing["kind"] == "ConfigMap"]
    return next(thing["data"] for thing in maps if thing["metadata"]["name"].startswith(name))


def test_the_compose_file_has_the_same_parts_and_publishes_only_on_this_host():
    services = yaml.safe_load((MLFLOW / "compose.yaml").read_text())["services"]
    assert services.keys() == {"mlflow", "postgres", "store", "bucket", "dump", "backup"}
    assert [port for service in services.values() for port in service.get("ports", [])] == ["127.0.0.1:5000:5000"]
    text = (MLFLOW / "compose.yaml").read_text()
    for secret in SECRETS:
        assert f"{secret}: ${{{secret}:?}}" in text.replace('"', "")  # an unset one is an error, not an empty password


def test_the_server_is_the_version_of_the_lock_file():
    def locked(file):
        return [line for line in file.read_text().splitlines() if line.startswith("mlflow==")]

    assert locked(MLFLOW / "requirements.lock") == locked(CLUSTER.parent / "requirements.lock") != []


def test_the_server_does_not_start_without_its_secrets():
    done = subprocess.run(
        [MLFLOW / "serve.sh"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, "POSTGRES_HOST is not set" in done.stderr) == (1, True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


NETWORK = ("PIP_", "UV_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT", "REQUESTS_CA")
LOG = """
import mlflow, sys
mlflow.set_experiment("herbarium")
with mlflow.start_run() as run:
    mlflow.log_metric("accuracy", 0.5)
    mlflow.log_text("leaf", "sheet.txt")
print(run.info.run_id)
"""
READ = """
import mlflow, sys
run = mlflow.get_run(sys.argv[1])
uri = run.info.artifact_uri
print(run.data.metrics["accuracy"], mlflow.artifacts.load_text(uri + "/sheet.txt"), uri)
"""


class Host:
    """`one-host.sh` as the user who may run PostgreSQL, in a folder of this test."""

    def __init__(self, folder, **more):
        self.folder = folder
        self.port = free_port()
        self.environment = {
            "HERBRAY_MLFLOW": str(folder / "home"),
            "MLFLOW_PORT": self.port,
            "POSTGRES_PORT": free_port(),
            "HOME": str(folder),
            "PATH": "/usr/local/bin:/usr/bin:/bin",  # root's own Python may be out of this user's reach
            **{name: value for name, value in os.environ.items() if name.upper().startswith(NETWORK)},
            **more,
        }

    def run(self, *words, code=0):
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*user, "env", *(f"{name}={value}" for name, value in self.environment.items()), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1200, cwd=self.folder)
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def script(self, *words, code=0):
        return self.run(self.folder / "cluster" / "mlflow" / "one-host.sh", *words, code=code)

    def client(self, text, *words, password=None, host="127.0.0.1", code=0):
        secrets = dict(line.split("=") for line in (self.folder / "home" / "secrets").read_text().splitlines())
        account = {
            "MLFLOW_TRACKING_URI": f"http://{host}:{self.port}",
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": password or secrets["MLFLOW_AUTH_ADMIN_PASSWORD"],
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        }
        words = ["env", *(f"{name}={value}" for name, value in account.items()), self.python, "-c", text, *words]
        return self.run(*words, code=code)

    @property
    def python(self):
        return self.folder / "home" / "venv" / "bin" / "python"


@pytest.fixture
def place(tmp_path):
    """A folder that the user of PostgreSQL may enter, with a copy of the scripts."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    folder = Path("/tmp") / f"herbray-one-host-{os.getpid()}"
    shutil.copytree(MLFLOW, folder / "cluster" / "mlflow")
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", ["folder", "bucket"])
def test_on_one_host_the_server_is_backed_up_lost_and_restored(place, store):
    host, emulator = Host(place), None
    try:
        if store == "bucket":
            # The real store's protocol, in memory: it proves the addresses and calls, not durability or permissions.
            host.run("python3", "-m", "venv", place / "home" / "venv")
            host.run(host.python, "-m", "pip", "install", "-q", "uv")
            packages = ["-r", place / "cluster/mlflow/requirements.lock", "moto[s3]==5.2.5"]
            host.run(host.python.with_name("uv"), "pip", "install", "-q", "--python", host.python, *packages)
            port = free_port()
            emulator = subprocess.Popen([host.python, "-m", "moto.server", "-p", port], stderr=subprocess.DEVNULL)
            host.environment |= {
                "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow/artifacts",
                "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
            wait_for(port)
        check_backup(host)
    finally:
        host.script("stop")
        if emulator:
            emulator.send_signal(signal.SIGTERM)
            emulator.wait()


def check_backup(host):
    assert f"MLflow runs at http://127.0.0.1:{host.port}" in host.script("start")
    assert ((host.folder / "home" / "secrets").stat().st_mode & 0o777) == 0o600
    run = host.client(LOG).split()[-1]
    assert "0.5 leaf mlflow-artifacts:/" in host.client(READ, run)  # through the server, not from the store
    assert "401" in host.client(READ, run, password="wrong", code=1)
    assert "403" in host.client(READ, run, host="localhost.localdomain", code=1)  # a host that is not allowed
    dump = host.script("backup", host.folder / "backup").split()[-1]
    assert Path(dump).stat().st_size > 10_000
    host.script("stop")
    for name in ("database", "artifacts", "secrets"):
        path = host.folder / "home" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if bucket := host.environment.get("AWS_ENDPOINT_URL_S3"):
        host.run("curl", "-s", "--noproxy", "*", "-X", "POST", f"{bucket}/moto-api/reset")
    assert "restored from" in host.script("restore", host.folder / "backup")
    assert "0.5 leaf" in host.client(READ, run)
    assert "runs at" in host.script("status")
    host.script("stop")
    assert "does not run" in host.script("status", code=1)


def wait_for(port):
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"nothing listens on {port}")

"""PostgreSQL, a store with the S3 protocol, and the tracking server in front of both, on 127.0.0.1."""

import base64
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from processes import StepFailed, accepts, is_root, log_file, start, wait_for

CLUSTER: Final = Path(__file__).parents[1]
ACCOUNT: Final = "herbray"
"""The jobs' account of the tracking server; `admin` makes it."""

DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Requests to this machine go through no proxy."""


@dataclass(frozen=True)
class Services:
    """Ports and secrets; the secrets are random, and live as long as the folder."""

    folder: Path
    secrets: Mapping[str, str]
    database_port: int
    store_port: int
    tracking_port: int

    @property
    def tracking(self) -> str:
        """Address of the tracking server."""
        return f"http://127.0.0.1:{self.tracking_port}"

    @property
    def store(self) -> dict[str, str]:
        """What a client of the store needs, by the names that boto3, MLflow and Arrow read."""
        endpoint = f"http://127.0.0.1:{self.store_port}"
        names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL")
        keys = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": self.secrets["store"]}
        return dict.fromkeys(names, endpoint) | keys | {"AWS_DEFAULT_REGION": "us-east-1"}

    @property
    def account(self) -> dict[str, str]:
        """What a client of the tracking server needs, apart from its address."""
        return {"MLFLOW_TRACKING_USERNAME": ACCOUNT, "MLFLOW_TRACKING_PASSWORD": self.secrets["account"]}


def start_database(services: Services) -> None:
    """A new PostgreSQL in FOLDER/database, with the database and role of the tracking server."""
    place, user = services.folder / "database", "postgres" if is_root() else None
    place.mkdir(mode=0o700)
    if user:
        shutil.chown(place, user)
    password = services.folder / "database-password"
    with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(services.secrets["database"])
    if user:
        shutil.chown(password, user)
    words = ["--pgdata", place, "--username", "mlflow", "--pwfile", password, "--auth", "scram-sha-256", "--no-sync"]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(place)}
    made = start(services.folder, "initdb", [_postgres("initdb"), *words, "--encoding", "UTF8"], environment, user)
    if made.wait(timeout=120):
        raise StepFailed(f"PostgreSQL's initdb failed: read {log_file(services.folder, 'initdb')}")
    password.unlink()
    words = ["-D", place, "-p", services.database_port, "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]
    start(services.folder, "postgres", [_postgres("postgres"), *words], environment, user)


def _postgres(program: str) -> Path:
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *map(Path, os.get_exec_path())]
    found = next((folder / program for folder in folders if (folder / program).is_file()), None)
    if found is None:
        raise StepFailed(f"PostgreSQL's program {program} is missing: apt-get install postgresql")
    return found


def make_database(services: Services) -> None:
    """Wait for PostgreSQL, and create the database of the tracking server."""
    import psycopg2

    def connect() -> Any:  # noqa: ANN401 - psycopg2 has no types
        settings = {"host": "127.0.0.1", "port": services.database_port, "user": "mlflow"}
        try:
            return psycopg2.connect(**settings, password=services.secrets["database"], dbname="postgres")
        except psycopg2.OperationalError as error:
            raise OSError(str(error).strip()) from error

    wait_for(f"PostgreSQL, {log_file(services.folder, 'postgres')}", connect, 60)
    session = connect()
    session.autocommit = True  # CREATE DATABASE runs in no transaction
    session.cursor().execute("CREATE DATABASE mlflow")
    session.close()


def start_store(services: Services) -> None:
    """An S3 server in memory. It knows no permissions: any key is accepted."""
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", services.store_port]
    start(services.folder, "s3", words, os.environ)


def make_buckets(services: Services, *names: str) -> None:
    """Wait for the store, and create the buckets."""
    wait_for(f"the store, {log_file(services.folder, 's3')}", lambda: accepts(services.store_port), 120)
    for name in names:
        words = [sys.executable, str(CLUSTER / "mlflow" / "objects.py"), "make", name]
        subprocess.run(words, env=os.environ | services.store, check=True, capture_output=True, timeout=120)


def start_tracking(services: Services) -> None:
    """The tracking server, as the manifests start it; artifacts go through it to the bucket `mlflow`."""
    settings = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", str(services.folder)),
        "POSTGRES_HOST": f"127.0.0.1:{services.database_port}",
        "POSTGRES_PASSWORD": services.secrets["database"],
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow/artifacts",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{services.tracking_port}",
        "MLFLOW_AUTH_ADMIN_PASSWORD": services.secrets["admin"],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": services.secrets["pages"],
        "MLFLOW_HOST": "127.0.0.1",
        "MLFLOW_PORT": str(services.tracking_port),
        "MLFLOW_WORKERS": "1",
    }
    start(services.folder, "mlflow", [CLUSTER / "mlflow" / "serve.sh"], settings | services.store)


def make_account(services: Services) -> None:
    """Wait for the tracking server, and create the jobs' account."""
    log = log_file(services.folder, "mlflow")
    wait_for(f"the tracking server, {log}", lambda: DIRECT.open(f"{services.tracking}/health", timeout=5), 300)
    body = f'{{"username": "{ACCOUNT}", "password": "{services.secrets["account"]}"}}'.encode()
    request = urllib.request.Request(f"{services.tracking}/api/2.0/mlflow/users/create", body, method="POST")
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", basic("admin", services.secrets["admin"]))
    DIRECT.open(request, timeout=60).close()


def basic(user: str, password: str) -> str:
    """The header of an account."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

"""A real MLflow server whose faults can be ordered; it starts in three seconds, `mlflow server` in a minute.

`python mlflow_server.py FOLDER PORT` serves. Files in FOLDER order faults: `refuse` (each request is answered 500 and
not carried out), `lose` (each is carried out and answered 500), `full` (SQLite's own "database or disk is full").
"""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path


class Server:
    """The server in a process of its own."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, "-W", "ignore", __file__, str(self.folder), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "up\n":
            raise RuntimeError("the MLflow server did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @contextlib.contextmanager
    def out_of_order(self, how):
        """`refuse`, `lose`, `full` as above, `away` (killed, then started again) or `mute` (stopped, never answers)."""
        self.begin(how)
        try:
            yield
        finally:
            self.end(how)

    def begin(self, how):
        if how == "away":
            self.kill()
        elif how == "mute":
            self.process.send_signal(signal.SIGSTOP)
        else:
            if how == "full" and (self.folder / "mlflow.db").exists():
                with contextlib.closing(sqlite3.connect(self.folder / "mlflow.db", timeout=30)) as database:
                    database.execute("VACUUM")  # else a few more rows would have room in pages that are there
            (self.folder / how).touch()

    def end(self, how):
        if how == "away":
            self.start()
        elif how == "mute":
            self.process.send_signal(signal.SIGCONT)
        else:
            (self.folder / how).unlink()


def serve(folder, port):
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": os.environ.get("HERBRAY_TEST_DATABASE", f"sqlite:///{folder}/mlflow.db"),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    }
    import mlflow.server
    import sqlalchemy
    from werkzeug.serving import WSGIRequestHandler, make_server

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "begin")
    def bound(connection):  # a database may not grow while its disk is full
        if connection.dialect.name != "sqlite":
            return
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar() if (folder / "full").exists() else 2**30
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def answer(environment, start):
        if (folder / "lose").exists():
            b"".join(mlflow.server.app.wsgi_app(environment, lambda *given: None))
        if (folder / "lose").exists() or (folder / "refuse").exists():
            start("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"out of order"]
        return mlflow.server.app.wsgi_app(environment, start)

    class Quiet(WSGIRequestHandler):
        def log(self, *given):
            pass

    server = make_server("127.0.0.1", port, answer, threaded=True, request_handler=Quiet)
    print("up", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))

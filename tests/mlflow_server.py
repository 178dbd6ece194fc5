"""A real MLflow server that can simulate faults. It starts in three seconds; `mlflow server` takes a minute.

`python mlflow_server.py FOLDER PORT` starts it. Files in FOLDER turn faults on: `refuse` (each request gets status 500
and is not carried out), `lose` (each request is carried out but gets status 500).
"""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path


class Server:
    """The server in a separate process."""

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
        """`refuse`, `lose` as above, `away` (killed, then started again), `mute` (stopped, never answers) or `full`.

        A server whose disk is full is one that the kernel lets write to no file: SQLite cannot even begin its journal.
        """
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
        elif how == "full":
            self._may_write(0)
        else:
            (self.folder / how).touch()

    def end(self, how):
        if how == "away":
            self.start()
        elif how == "mute":
            self.process.send_signal(signal.SIGCONT)
        elif how == "full":
            self._may_write(None)
        else:
            (self.folder / how).unlink()

    def _may_write(self, most):
        """The size of files that the process may write; None: any."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (hard if most is None else most, hard))


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
    from werkzeug.serving import WSGIRequestHandler, make_server

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

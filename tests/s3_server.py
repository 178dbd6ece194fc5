"""A real S3 server in a separate process, with a log of its requests: moto in server mode, which keeps all in memory.

`python s3_server.py PORT LOG FAULT` starts it. While the file FAULT exists, each request gets the error in it.
The server needs moto: of this environment, or of the Python that `HERBRAY_TEST_S3_PYTHON` names.
"""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

PYTHON = os.environ.get("HERBRAY_TEST_S3_PYTHON") or sys.executable


def is_available():
    return PYTHON != sys.executable or all(map(importlib.util.find_spec, ("moto", "flask_cors")))


class Server:
    """The server; `environment` is what a process needs to use it."""

    def __init__(self, folder):
        self.log, self.fault, self.process = folder / "requests.log", folder / "fault", None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.uri,
            "AWS_ACCESS_KEY_ID": "herbray-test",
            "AWS_SECRET_ACCESS_KEY": "herbray-test-secret",
            "AWS_REGION": "us-east-1",
        }

    def start(self):
        command = [PYTHON, "-W", "ignore", __file__, str(self.port), str(self.log), str(self.fault)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "up\n":
            raise RuntimeError("the S3 server did not start")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def make_bucket(self, name):
        import pyarrow.fs

        address = {"endpoint_override": f"127.0.0.1:{self.port}", "scheme": "http", "region": "us-east-1"}
        keys = {"access_key": "herbray-test", "secret_key": "herbray-test-secret"}
        pyarrow.fs.S3FileSystem(allow_bucket_creation=True, **address, **keys).create_dir(name)

    def requests(self):
        """(method, path, status, bytes) of each request so far."""
        rows = [line.split("\t") for line in self.log.read_text().splitlines()]
        return [(method, path, int(status), int(size or 0)) for method, path, status, size in rows]

    @contextlib.contextmanager
    def out_of_order(self, error="503 ServiceUnavailable", method=""):
        """Each request, or each with a method, gets a status and a code of S3."""
        self.fault.write_text(f"{error} {method}")
        try:
            yield
        finally:
            self.fault.unlink()


def serve(port, log, fault):
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    application = DomainDispatcherApplication(create_backend_app)

    def answer(environment, start):
        status, code, *methods = fault.read_text().split() if fault.exists() else ("", "", "-")
        if not methods or environment["REQUEST_METHOD"] in methods:
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            start(f"{status} {code}", [("Content-Length", str(len(body))), ("Content-Type", "application/xml")])
            return [body]
        return application(environment, start)

    class Quiet(WSGIRequestHandler):
        def log(self, *given):
            pass

        def log_request(self, code="-", size="-"):
            first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
            read = int(last) - int(first) + 1 if first and last and self.command == "GET" else 0
            with log.open("a") as file:
                file.write(f"{self.command}\t{self.path}\t{int(code)}\t{read}\n")

    log.touch()
    server = make_server("127.0.0.1", port, answer, threaded=True, request_handler=Quiet)
    print("up", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

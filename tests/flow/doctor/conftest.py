import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def server(monkeypatch):
    """Starts real HTTP servers; `answers` maps a path to (status, body), or is the status of all paths."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    started = []

    def start(answers, host="127.0.0.1"):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status = answers if isinstance(answers, int) else answers.get(self.path.partition("?")[0], 404)
                made.seen.append((self.path, dict(self.headers)))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", made.elsewhere)
                self.end_headers()
                self.wfile.write(b"a body")

            def log_message(self, *_):
                pass

        made = ThreadingHTTPServer((host, 0), Handler)
        made.seen = []
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.shutdown()
        made.server_close()


def port_of(server):
    return server.server_address[1]


@pytest.fixture
def closed_port(server):
    """A port on which no process listens."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    made.server_close()
    return port_of(made)

"""Serves the review page on this machine and saves verdicts; everything needs the token in its address."""

import hmac
import ipaddress
import json
import secrets
import threading
import time
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from herbray.console.logs import make_printable
from herbray.disk import describe_disk_error
from herbray.schema import RANKS, VERDICT
from herbray.verdicts.files import JUDGEMENTS, read_verdicts
from herbray.verdicts.saving import append_verdicts, check_appendable, file_to_append

MOST_BYTES: Final = 4_000_000
"""Of a request."""

MOST_CHARACTERS: Final = 100_000
"""Of a text in a verdict."""

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".jpg": "image/jpeg",
}


def serve(folder: Path, verdicts: Path, host: str, port: int) -> str:
    """Serve the page until the process is interrupted.

    Raises:
        ValueError: the port is taken, or verdicts cannot be saved.
    """
    server = make_server(folder, verdicts, host, port)
    print(f"open {server.address}  (Ctrl-C ends the server; verdicts go to {server.file})", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return f"{server.file}: {server.saved:,} verdicts saved"
    finally:
        server.server_close()
    return ""


class ReviewServer(ThreadingHTTPServer):
    """The server; `address` is the page's, with the token."""

    daemon_threads = True

    def __init__(self, folder: Path, verdicts: Path, host: str, port: int) -> None:
        """Bind the port.

        Raises:
            OSError: the port is taken.
        """
        self.verdicts, self.file = verdicts, file_to_append(verdicts)
        self.token, self.saved, self.lock = secrets.token_urlsafe(24), 0, threading.Lock()
        self.hosts = {host, "localhost", "127.0.0.1", "::1"} if _is_loopback(host) else None
        super().__init__((host, port), partial(_Handler, directory=str(folder)))

    @property
    def address(self) -> str:
        """The address of the page."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/{self.token}/index.html"


def make_server(folder: Path, verdicts: Path, host: str, port: int) -> ReviewServer:
    """Make a server that has bound its port.

    Raises:
        ValueError: the port is taken, or verdicts cannot be saved.
    """
    check_appendable(file_to_append(verdicts))
    try:
        return ReviewServer(folder, verdicts, host, port)
    except OSError as error:
        raise ValueError(
            f"{host}:{port}: cannot listen there ({error.strerror}); set port=0 for any free port"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Handler(SimpleHTTPRequestHandler):
    """Answers GET for the files of the folder and for `verdicts`, and POST for `verdicts`."""

    server: ReviewServer
    server_version, sys_version = "herbray", ""

    def do_GET(self) -> None:
        """Send a file, or all verdicts on the disk."""
        if not self._is_allowed():
            return
        if self.path == "/verdicts":
            self._send_verdicts()
        else:
            super().do_GET()

    def do_HEAD(self) -> None:
        """As for GET."""
        if self._is_allowed():
            super().do_HEAD()

    def do_POST(self) -> None:
        """Save verdicts: a JSON list of rows."""
        if not self._is_allowed() or not self._is_own_page():
            return
        try:
            rows = parse_rows(self.rfile.read(self._length()))
        except ValueError as error:
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        try:
            with self.server.lock:
                append_verdicts(self.server.file, rows)
                self.server.saved += len(rows)
        except OSError as error:
            message = describe_disk_error(error, self.server.file)
            print(f"not saved: {make_printable(message)}", flush=True)
            self._send_json(HTTPStatus.INSUFFICIENT_STORAGE, {"error": message})
            return
        self._send_json(HTTPStatus.OK, {"saved": [row["id"] for row in rows]})

    def _is_allowed(self) -> bool:
        """Whether the request was made to this machine's name and has the token; takes the token off the path."""
        if self.server.hosts is not None and _host_name(self.headers.get("Host", "")) not in self.server.hosts:
            self.send_error(HTTPStatus.FORBIDDEN, "asked by another name than that of this machine")
            return False
        token, _, rest = self.path.partition("?")[0].lstrip("/").partition("/")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            self.send_error(HTTPStatus.FORBIDDEN, "the address lacks the token that the server printed")
            return False
        self.path = f"/{rest or 'index.html'}"
        return True

    def _is_own_page(self) -> bool:
        """Whether a browser sends this from the page itself, and it goes to the one address that saves."""
        own = self.headers.get("Origin", "") == f"http://{self.headers.get('Host')}"
        if own and self.path == "/verdicts" and self.headers.get_content_type() == "application/json":
            return True
        self.close_connection = True
        self.send_error(HTTPStatus.FORBIDDEN, "only the review page itself may save")
        return False

    def _length(self) -> int:
        """Length of the request.

        Raises:
            ValueError: it is unknown or too large.
        """
        text = self.headers.get("Content-Length", "")
        if not text.isdecimal() or int(text) > MOST_BYTES:
            self.close_connection = True
            raise ValueError(f"a request must have a length of at most {MOST_BYTES:,} bytes")
        return int(text)

    def _send_verdicts(self) -> None:
        try:
            rows = read_verdicts(self.server.verdicts).to_pylist()
        except ValueError as error:
            self._send_json(HTTPStatus.CONFLICT, {"error": str(error)})
        else:
            self._send_json(HTTPStatus.OK, {"verdicts": rows})

    def _send_json(self, status: HTTPStatus, tree: Mapping[str, Any]) -> None:
        data = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def end_headers(self) -> None:
        """Add what keeps the address, with its token, and the content on this page."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        super().end_headers()

    def guess_type(self, path: Any) -> str:  # noqa: ANN401  (of the library)
        """The type by the ending, whatever this machine's tables say."""
        return _TYPES.get(Path(str(path)).suffix, "application/octet-stream")

    def list_directory(self, path: Any) -> None:  # noqa: ANN401  (of the library)
        """Folders are not listed."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401  (of the library)
        """Print nothing: lines would contain the token."""


def _host_name(header: str) -> str:
    """The name in a Host header, without the port: a tunnel may change it."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def parse_rows(data: bytes) -> list[dict[str, str | None]]:
    """Check rows that a page sends.

    Raises:
        ValueError: not a list of verdicts.
    """
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("not a list of verdicts")
    return [_parse_row(row) for row in rows]


def _parse_row(row: Mapping[str, Any]) -> dict[str, str | None]:
    if sorted(row) != sorted(VERDICT.names):
        raise ValueError(f"a verdict has the keys {', '.join(VERDICT.names)}")
    for name, value in row.items():
        is_text = isinstance(value, str) and len(value) <= MOST_CHARACTERS
        if not is_text and not (value is None and VERDICT.field(name).nullable):
            raise ValueError(f"{name} is not a text of at most {MOST_CHARACTERS:,} characters")
    if row["verdict"] not in JUDGEMENTS or row["rank"] not in RANKS or not row["id"] or not row["specimen_id"]:
        raise ValueError("not a verdict on a name of a sheet")
    time.strptime(row["at"], "%Y-%m-%dT%H:%M:%S.%fZ")
    return dict(row)

"""One careful GET: what a server answers to a stranger."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping


def fetch_status(url: str, headers: Mapping[str, str], timeout_s: float) -> tuple[int, str]:
    """The HTTP status and the first 200 characters of the answer; (0, why) where there is none.

    Where an answer points to another place, that is the answer: no password goes on from there.

    Raises:
        ValueError: neither http nor https.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url.partition(':')[0]!r} is not http or https")
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310  (the scheme was looked at)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s) as answer:
            return answer.status, answer.read(200).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(200).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        return 0, str(getattr(error, "reason", error))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes an error of a redirection."""

    def redirect_request(self, *args: object) -> None:
        """None: not followed."""


def origin_of(url: str) -> str:
    """Scheme, host and port: a URL without what may be secret in it."""
    parts = urllib.parse.urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"

"""A GET request that follows no redirection."""

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping


def fetch_status(url: str, headers: Mapping[str, str], timeout_s: float) -> tuple[int, str]:
    """Send a GET request; redirections are not followed, so that no password reaches another server.

    Returns:
        The HTTP status and the first 200 bytes of the response as text; 0 and the reason if there is no response.

    Raises:
        ValueError: the URL is neither http nor https.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url.partition(':')[0]!r} is not http or https")
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310  (the scheme is checked above)
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s) as answer:
            return answer.status, answer.read(200).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(200).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        return 0, str(getattr(error, "reason", error))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Turns a redirection into an `HTTPError`."""

    def redirect_request(self, *args: object) -> None:
        """Return None: do not follow."""


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, without the parts that may contain secrets."""
    parts = urllib.parse.urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"

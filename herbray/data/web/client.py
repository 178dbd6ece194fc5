"""One request to a server that is not trusted: bounded in time and size, to an address that was checked."""

import email.utils
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from yarl import URL

from herbray.data.web.addresses import CheckedResolver, Network, PrivateAddress, check_host
from herbray.data.web.failure import NotFetched

REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_PASSING: Final = frozenset((408, 425, 429))
_GONE: Final = frozenset((404, 410))
_CONNECT_S: Final = 20.0
_CHUNK: Final = 1 << 16


@dataclass(frozen=True)
class Reply:
    """What a server answered; the body is read only of a 200."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Client:
    """Makes requests, none of which follows a redirect, sends a cookie or unpacks what came. A context manager."""

    def __init__(self, agent: str, seconds: float, allowed: Sequence[Network]) -> None:
        """Prepare.

        Args:
            agent: the header User-Agent.
            seconds: longest time of a request.
            allowed: networks that may be asked although they are not public.
        """
        self._allowed = allowed
        self._headers = {"User-Agent": agent, "Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(_CONNECT_S, seconds))

    async def __aenter__(self) -> "Client":
        """Open the session."""
        connector = aiohttp.TCPConnector(resolver=CheckedResolver(self._allowed), limit=0, ttl_dns_cache=300)
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            middlewares=(_ask_once,),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        await self._session.close()

    async def get(self, url: URL, headers: Mapping[str, str], max_bytes: int) -> Reply:
        """Ask for a file.

        Raises:
            NotFetched: no reply, or a body that is too large, too slow or cut off.
        """
        try:
            check_host(url.host or "", self._allowed)
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                body = await _read_body(response, max_bytes) if response.status == 200 else b""
                return Reply(response.status, response.headers, body)
        except (PrivateAddress, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise _explain(error, self._timeout.total or 0) from None


class _Disconnected(aiohttp.ClientError):
    """The connection failed; the cause says how."""


async def _ask_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from asking a second time, which no turn at the host allows, when a connection fails."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Disconnected(str(error)) from error


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    declared = response.content_length
    if declared is not None and declared > max_bytes:
        raise _refuse_size(f"{declared:,} bytes", max_bytes)
    parts, size = [], 0
    async for part in response.content.iter_chunked(_CHUNK):
        size += len(part)
        if size > max_bytes:
            raise _refuse_size("more", max_bytes)
        parts.append(part)
    return b"".join(parts)


def _refuse_size(found: str, max_bytes: int) -> NotFetched:
    return NotFetched("too-large", f"the server sends {found}; at most {max_bytes:,} bytes are taken (limits.max_mb)")


def _explain(error: Exception, seconds: float) -> NotFetched:
    """The failure for an error of the connection."""
    if isinstance(error, _Disconnected) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, PrivateAddress):
        return NotFetched("private-address", str(cause))
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return NotFetched("address", f"the address cannot be asked ({_line(error)})")
    reasons: tuple[tuple[type[Exception], str, str], ...] = (
        (TimeoutError, "timeout", f"no complete reply within {seconds:g} s"),
        (aiohttp.ClientConnectorDNSError, "unknown-host", f"the name of the host is not known ({_line(cause)})"),
        (aiohttp.ClientSSLError, "certificate", f"no secure connection ({_line(error)})"),
        (aiohttp.ClientPayloadError, "cut-off", "the connection ended before the end of the file"),
        (aiohttp.ClientResponseError, "malformed", f"the reply is not HTTP ({_line(error)})"),
    )
    for kind, reason, detail in reasons:
        if isinstance(error, kind):
            return NotFetched(reason, detail, passing=True, trouble=True)
    return NotFetched("no-connection", f"the connection failed ({_line(cause)})", passing=True, trouble=True)


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def check_status(reply: Reply) -> None:
    """Check that a reply is a file, or says that it has not changed.

    Raises:
        NotFetched: any other status. The code is `http-STATUS`.
    """
    if reply.status in (200, 304):
        return
    passing = reply.status in _PASSING or reply.status >= 500
    raise NotFetched(
        f"http-{reply.status}",
        f"the server answers {reply.status}",
        passing=passing,
        trouble=reply.status not in _GONE,
        wait_s=_read_wait(reply.headers.get("Retry-After", "")) if passing else 0.0,
    )


def _read_wait(text: str) -> float:
    """Seconds of a Retry-After, which is a number of seconds or a date."""
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0

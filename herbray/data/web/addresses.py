"""Which addresses may be asked: http and https on the public internet; names are checked once they are resolved."""

import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from herbray.data.web.failure import NotFetched

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAX_LENGTH: Final = 4096
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 32 bits


class PrivateAddress(OSError):
    """A name leads to an address that is not on the public internet."""


def read_url(text: str, base: URL | None = None) -> URL:
    """Read the address of an image, or where a redirect leads.

    Raises:
        NotFetched: it is no address of the web.
    """
    try:
        url = URL(text)
        url = base.join(url) if base is not None else url
        usable = bool(url.scheme in ("http", "https") and url.host and url.port and len(text) <= _MAX_LENGTH)
    except ValueError:
        usable = False
    if not usable:
        raise NotFetched("address", f"{text[:200]!r} is not an address of the web")
    if url.user is not None or url.password is not None:
        raise NotFetched("address", "the address contains a name or a password")
    return url.with_fragment(None)


def host_of(url: URL) -> str:
    """The host of an address, whose pace and health it shares; ports and schemes do not matter."""
    return (url.host or "").rstrip(".").lower()


def check_host(host: str, allowed: Sequence[Network]) -> None:
    """Check a host that is written as a number; names are checked by `CheckedResolver`.

    Raises:
        PrivateAddress: it is not on the public internet, and not in one of the `allowed` networks.
    """
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return
    if not _is_public(ip) and not any(ip in network for network in allowed):
        raise PrivateAddress(f"{host} is not an address of the public internet")


def _is_public(ip: _Ip) -> bool:
    """Whether an address is global unicast; of one that carries an IPv4 address, whether that is."""
    inner = _carried(ip)
    if inner is not None:
        return _is_public(inner)
    return ip.is_global and not ip.is_multicast


def _carried(ip: _Ip) -> ipaddress.IPv4Address | None:
    if not isinstance(ip, ipaddress.IPv6Address):
        return None
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


class CheckedResolver(AbstractResolver):
    """Resolves names and checks what they lead to; connections go to the checked addresses, not to the names."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        """Allow some networks that are not public."""
        self._inner, self._allowed = ThreadedResolver(), allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a name.

        Raises:
            PrivateAddress: one of its addresses is not public.
            OSError: the name cannot be resolved.
        """
        found = await self._inner.resolve(host, port, family)
        for each in found:
            try:
                check_host(each["host"], self._allowed)
            except PrivateAddress as error:
                raise PrivateAddress(f"{host} leads to {error}") from None
        return found

    async def close(self) -> None:
        """Release what the resolver holds."""
        await self._inner.close()

"""One image: its robots.txt, its sizes if it is a IIIF image, its redirects, its content."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from yarl import URL

from herbray.data.web import iiif, robots
from herbray.data.web.addresses import host_of, read_url
from herbray.data.web.client import REDIRECTS, Client, Reply, check_status
from herbray.data.web.content import check_content, is_page, write_content
from herbray.data.web.failure import NotFetched
from herbray.data.web.records import Record
from herbray.data.web.settings import Limits
from herbray.data.web.turns import TurnKeeper

_PRODUCT: Final = "herbray"
_MAX_INFO_BYTES: Final = 1 << 20
_MAX_TAG: Final = 500  # characters

_Kind = Literal["image", "info", "robots"]


class Downloader:
    """Fetches images into a folder, each request in a turn of its host."""

    def __init__(self, client: Client, turns: TurnKeeper, limits: Limits, side: int, out: Path) -> None:
        """Fetch into `out`; `side` is the short side that is asked of IIIF servers, in pixels; 0: as addresses say."""
        self._client, self._turns, self._limits, self._side, self._out = client, turns, limits, side, out
        self._rules: dict[URL, robots.Rules] = {}
        self._locks: defaultdict[URL, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def fetch(self, image: str, known: Record | None = None) -> Record:
        """Fetch an image and write it into the folder.

        Args:
            image: its address, as the catalogue has it.
            known: what was fetched earlier; the server is asked whether it has changed.

        Raises:
            NotFetched: it did not come.
            OSError: it cannot be written.
        """
        url = read_url(image)
        base = iiif.find_base(image) if self._side else None
        request = await self._choose_request(image, base) if base else url
        headers = _condition(known) if known and known.request == str(request) else {}
        reply = await self._follow(request, headers, self._limits.max_bytes, "image")
        now = time.time()
        if reply.status == 304:
            if known is None or not headers:
                raise NotFetched("http-304", "the server answers that nothing has changed, which was not asked")
            return replace(known, checked_at=now)
        content = check_content(reply.body)
        await asyncio.to_thread(write_content, self._out, content, reply.body)
        return Record(
            image,
            file=content.file,
            bytes=len(reply.body),
            format=content.format,
            width=content.width,
            height=content.height,
            request=str(request),
            side=self._side if base else 0,
            etag=_read_tag(reply, "ETag"),
            modified=_read_tag(reply, "Last-Modified"),
            fetched_at=now,
            checked_at=now,
        )

    async def _choose_request(self, image: str, base: str) -> URL:
        """The smallest size that serves; of an image that the server does not describe, the one of the address."""
        try:
            reply = await self._follow(read_url(f"{base}/info.json"), {}, _MAX_INFO_BYTES, "info")
            return read_url(iiif.choose_request(reply.body, base, self._side))
        except iiif.NotAnImage as error:
            if iiif.is_info(image):
                raise NotFetched("not-an-image", str(error)) from None
        except NotFetched as error:
            if iiif.is_info(image) or error.is_passing:
                raise
        return read_url(image)

    async def _follow(self, url: URL, headers: Mapping[str, str], max_bytes: int, kind: _Kind) -> Reply:
        """Ask for a file and follow redirects, each in a turn of its host and as its robots.txt allows."""
        seen: set[URL] = set()
        while True:
            if kind != "robots":
                await self._check_robots(url)
            reply = await self._ask(url, headers, max_bytes, kind)
            if reply.status not in REDIRECTS:
                return reply
            seen.add(url)
            url = read_url(reply.headers.get("Location", ""), url)
            if url in seen:
                raise NotFetched("redirect-loop", f"the redirects lead back to {url}")
            if len(seen) > self._limits.redirects:
                raise NotFetched("redirects", f"more than {self._limits.redirects} redirects (limits.redirects)")

    async def _ask(self, url: URL, headers: Mapping[str, str], max_bytes: int, kind: _Kind) -> Reply:
        """Make one request in a turn of the host, and say how it went."""
        host = host_of(url)
        turn = await self._turns.take(host)
        if turn.refusal:
            raise NotFetched("host", f"not asked for: {host} was given up in this run: {turn.refusal}", passing=True)
        trouble, wait_s = "", 0.0
        try:
            reply = await self._client.get(url, headers, max_bytes)
            if reply.status in REDIRECTS or (kind == "robots" and 400 <= reply.status < 500 and reply.status != 429):
                return reply
            check_status(reply)
            if kind == "image" and is_page(reply.body):
                raise NotFetched("not-an-image", "the server sends a web page in place of an image", trouble=True)
            return reply
        except NotFetched as error:
            trouble, wait_s = str(error) if error.is_trouble else "", error.wait_s
            raise
        finally:
            await self._turns.give_back(host, turn.number, trouble, wait_s)

    async def _check_robots(self, url: URL) -> None:
        """Check that the robots.txt of a site allows an address.

        Raises:
            NotFetched: it forbids it; or it cannot be read, in which case RFC 9309 forbids everything.
        """
        site = url.origin()
        async with self._locks[site]:
            if site not in self._rules:
                self._rules[site] = await self._read_rules(site)
                await self._turns.slow_down(host_of(site), self._rules[site].delay_s)
        if not self._rules[site].allows(url.raw_path_qs):
            raise NotFetched("robots", f"{site}/robots.txt forbids it")

    async def _read_rules(self, site: URL) -> robots.Rules:
        try:
            reply = await self._follow(site / "robots.txt", {}, 4 * robots.MAX_BYTES, "robots")
        except NotFetched as error:
            if error.reason in ("host", "private-address", "address"):  # the host was not asked
                raise
            detail = f"{site}/robots.txt cannot be read ({error}), so nothing is asked for"
            raise NotFetched("robots", detail, passing=True) from None
        return robots.parse_rules(reply.body, _PRODUCT)


def _read_tag(reply: Reply, name: str) -> str:
    """A header that a later request repeats; empty if it is missing or cannot be repeated."""
    text = reply.headers.get(name, "")
    return text if text.isascii() and text.isprintable() and len(text) <= _MAX_TAG else ""


def _condition(known: Record) -> dict[str, str]:
    """The headers of a conditional request."""
    fields = {"If-None-Match": known.etag, "If-Modified-Since": known.modified}
    return {name: value for name, value in fields.items() if value}

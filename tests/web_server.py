"""A web server on loopback addresses that misbehaves on request; it logs what it is asked, and when."""

import asyncio
import json
import random
import re
import threading
import time
from email.utils import formatdate

import numpy as np
import simplejpeg

JPEG = "image/jpeg"


def draw(number, width=24, height=32):
    """A JPEG that its number makes."""
    pixels = np.random.default_rng(number).integers(0, 255, (4, 3, 3), np.uint8)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels.repeat(height // 4, 0).repeat(width // 3, 1)), quality=60)


def reply(status, body=b"", kind=JPEG, length=None, **headers):
    """A response with its head; `length` may lie."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"Content-Type: {kind}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


class WebServer:
    """Paths are /KIND/NUMBER.jpg; the first part says how the server behaves, see `answer`."""

    def __init__(self, hosts=("127.0.0.1",)):
        self.hosts, self.log, self.robots, self.broken = hosts, [], {}, set()
        """`robots`: host → text, or a status; `broken`: hosts that hang up."""
        self.visits = {}
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _serve(self, ready):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        ready.set()
        self._loop.run_forever()

    async def _listen(self):
        first = await asyncio.start_server(self._connect, self.hosts[0], 0)
        self.port = first.sockets[0].getsockname()[1]
        self._servers = [first]
        for host in self.hosts[1:]:
            self._servers.append(await asyncio.start_server(self._connect, host, self.port))

    def close(self):
        async def end():
            for server in self._servers:
                server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, path, host=None):
        return f"http://{host or self.hosts[0]}:{self.port}{path}"

    def asked(self, prefix="/"):
        return [path for _, _, path, _ in self.log if path.startswith(prefix)]

    async def _connect(self, reader, writer):
        host = writer.get_extra_info("sockname")[0]
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode("latin-1").split("\r\n")
                path = lines[0].split()[1]
                headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
                self.log.append((time.monotonic(), host, path, headers))
                if host in self.broken or not await self._answer(writer, host, path, headers):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, writer, host, path, headers):
        """Answer; True if the connection goes on."""
        self.visits[path] = self.visits.get(path, 0) + 1
        kind, number = re.match(r"/([\w.-]+)/?(\d*)", path).groups()
        number = int(number or 0)
        if kind == "robots.txt":
            rules = self.robots.get(host, 404)
            writer.write(reply(rules) if isinstance(rules, int) else reply(200, rules.encode(), "text/plain"))
        elif kind in ("slow", "endless"):
            await self._drip(writer, kind, draw(number))
            return False
        elif kind == "hang-up":
            return False
        else:
            writer.write(self.answer(kind, number, path, headers))
        await writer.drain()
        return kind != "cut-off"

    def answer(self, kind, number, path, headers):
        data = draw(number)
        tag = f'"{number}"'
        plain = {"404": 404, "410": 410, "403": 403, "450": 450, "500": 500}
        if kind in plain:
            return reply(plain[kind], b"no", "text/plain")
        if kind in ("429", "503") and self.visits[path] == 1:
            soon = "0" if number % 2 else formatdate(time.time() + 0.5, usegmt=True)
            return reply(int(kind), Retry_After=soon)
        if kind == "wait":
            return reply(429, Retry_After="86400")
        if kind == "html":
            return reply(200, b"<!DOCTYPE html><html>Please log in</html>", JPEG)
        if kind == "text":
            return reply(200, b"not found, sorry", JPEG)
        if kind == "loop":
            return reply(302, Location=f"/loop/{number + 1 if number % 2 else number - 1}")
        if kind == "hops":
            return reply(301, Location=f"/hops/{number - 1}" if number else "/ok/1.jpg")
        if kind == "private":
            return reply(302, Location=random.Random(number).choice(PRIVATE))
        if kind == "to":
            return reply(307, Location=f"http://{self.hosts[number % len(self.hosts)]}:{self.port}/ok/{number}.jpg")
        if kind == "cut-off":
            return reply(200, data[: len(data) // 2], length=len(data))
        if kind == "short-length":
            return reply(200, data, length=len(data) // 2)
        if kind == "garbage":
            return b"\x00\xff SSH-2.0 hello\r\n\r\n"
        if kind == "big-head":
            return reply(200, data, X_Padding="x" * 100_000)
        if kind == "odd":
            return reply(200, data, ETag="\udcff\udcfe", Last_Modified="x" * 2000)
        if kind == "odd-redirect":
            return reply(302, Location="http://\udcff\udcfe/1.jpg")
        if kind == "huge":
            return reply(200, data, length=2**40)
        if kind == "tagged":
            same = headers.get("if-none-match") == tag or "if-modified-since" in headers
            return reply(304) if same else reply(200, data, ETag=tag, Last_Modified=formatdate(usegmt=True))
        if kind == "changing":
            return reply(200, draw(self.visits[path]))
        if kind == "iiif":
            return self.answer_iiif(number, path)
        return reply(200, data) if kind in ("ok", "429", "503") else reply(404)

    def answer_iiif(self, number, path):
        if path.endswith("info.json"):
            sizes = [{"width": width, "height": width * 4 // 3} for width in (30, 60, 120, 240)]
            info = {"@context": "http://iiif.io/api/image/3/context.json", "width": 240, "height": 320, "sizes": sizes}
            return reply(200, json.dumps(info).encode(), "application/json")
        size = re.search(r"/full/(\d+),(\d+)/0/default.jpg$", path)
        return reply(200, draw(number, int(size[1]), int(size[2]))) if size else reply(400)

    async def _drip(self, writer, kind, data):
        """A body that comes byte by byte, or never ends."""
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {JPEG}\r\n".encode())
        if kind == "slow":
            writer.write(f"Content-Length: {len(data)}\r\n\r\n".encode())
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        else:
            writer.write(b"Connection: close\r\n\r\n" + data)
            while True:
                writer.write(b"\0" * 65536)
                await writer.drain()


PRIVATE = (
    *("http://10.0.0.1/1.jpg", "http://192.168.1.1/", "http://169.254.169.254/latest/meta-data/", "http://[::1]/"),
    *("http://[::ffff:10.0.0.1]/", "http://100.64.0.1/x", "http://0.0.0.0/", "http://[fe80::1]/1.jpg"),
)

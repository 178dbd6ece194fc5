"""A real Chromium, driven through the DevTools protocol over two pipes: no driver program, no package, no port."""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Enter": 13}


def find_chromium():
    """The path of the browser; None if there is none on this machine."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One browser with one page; its profile, and with it `localStorage`, is in `profile`."""

    def __init__(self, profile: Path, downloads: Path, wait: float = 240):
        self.wait, self.numbers, self.buffer, self.events = wait, itertools.count(1), b"", []
        to_browser, self.write = os.pipe()
        self.read, from_browser = os.pipe()
        options = (
            "--headless=new --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run --disable-extensions "
            "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
        )
        command = f'exec "{find_chromium()}" {options} --user-data-dir="{profile}" 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(
            ["bash", "-c", command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def call(self, method, **params):
        """Send a command and return its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": params}
        if hasattr(self, "session"):
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def _next(self):
        while b"\0" not in self.buffer:
            if not select.select([self.read], [], [], self.wait)[0]:
                raise TimeoutError("the browser does not answer")
            data = os.read(self.read, 1 << 20)
            if not data:
                raise RuntimeError("the browser ended")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, address):
        """Open a page, and wait until the queue is shown."""
        self.call("Page.navigate", url=address)
        self.until("document.readyState === 'complete' && document.querySelector('#why')?.textContent !== ''")

    def run(self, script):
        """The value of an expression on the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails'].get('exception', {}).get('description')}")
        return answer["result"].get("value")

    def until(self, script):
        """Wait until an expression is true."""
        end = time.monotonic() + self.wait
        while not self.run(script):
            if time.monotonic() > end:
                raise TimeoutError(script)
            time.sleep(0.05)

    def press(self, key):
        """Press and release a key."""
        code = KEYS.get(key)
        text = {} if code else {"text": key}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code or ord(key.upper()),
                **(text if kind == "keyDown" else {}),
            )

    def type(self, text):
        """Type a text into the field that has the focus."""
        self.call("Input.insertText", text=text)

    def size(self, width, height):
        """Set the size of the window in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path):
        """Write a PNG of the window."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def pdf(self, path):
        """Print the page."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))

    def faults(self):
        """Errors that the page has reported, such as an exception or what its security policy has stopped."""
        self.run("1")
        found = [
            event["params"] for event in self.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")
        ]
        return [each for each in found if each.get("entry", {}).get("level", "error") == "error"]

    def close(self):
        """End the browser."""
        try:
            del self.session
            self.call("Browser.close")
        except (RuntimeError, BrokenPipeError, AttributeError):
            self.process.kill()
        self.process.wait(60)
        os.close(self.write)
        os.close(self.read)

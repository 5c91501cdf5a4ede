"""Headless Chromium, driven by its DevTools protocol through a pipe: no port, no other package."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    # Its sandbox refuses root, which containers run tests as.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-extensions",
    "--hide-scrollbars",
    "--no-first-run",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
SECONDS = 30.0
KEYS = {
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
    "Enter": 13, "Escape": 27, "Tab": 9,
}  # fmt: skip


def find_chromium() -> str | None:
    """The path of an installed Chromium; None if there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


class Pipe:
    """Messages to Chromium and back, each ended by a zero byte."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        os.set_blocking(from_browser, False)
        self._received = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its result; what happens meanwhile is kept in `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found = self._receive()
            if found is None:
                time.sleep(0.005)
            elif found.get("id") == self._number:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']}")
                result: dict[str, Any] = found["result"]
                return result
            else:
                self.events.append(found)
        raise TimeoutError(f"{method} was not answered within {SECONDS:g} s")

    def drain(self) -> None:
        """Take in the events that have come."""
        while (found := self._receive()) is not None:
            self.events.append(found)

    def _receive(self) -> dict[str, Any] | None:
        while b"\0" not in self._received:
            try:
                data = os.read(self._from, 1 << 20)
            except BlockingIOError:
                return None
            if not data:
                raise EOFError("Chromium has ended")
            self._received += data
        message, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@dataclass
class Tab:
    """One page of the browser."""

    pipe: Pipe
    session: str

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        return self.pipe.ask(method, self.session, **params)

    def resize(self, width: int, height: int = 900, *, ratio: float = 1.0) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=ratio, mobile=width < 600,
        )  # fmt: skip

    def prefer(self, **features: str) -> None:
        """Set media features, such as prefers_color_scheme="dark"."""
        values = [{"name": n.replace("_", "-"), "value": v} for n, v in features.items()]
        self.ask("Emulation.setEmulatedMedia", features=values)

    def open(self, path: Path) -> None:
        self.ask("Page.navigate", url=path.as_uri())
        wait(lambda: self.run("document.readyState") == "complete")
        # Data URIs are decoded behind the load event of a lazily painted page.
        self.run("Promise.all([...document.images].map((i) => i.decode().catch(() => 0)))")
        self.settle()

    def settle(self) -> None:
        """Wait until the page has been laid out and drawn."""
        self.run("new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, of a promise its result."""
        found = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key,
                windowsVirtualKeyCode=KEYS[key],
            )  # fmt: skip
        self.settle()

    def drag(self, *points: tuple[float, float]) -> None:
        """Press at the first point, move over the others, let go; of one point, a click."""
        kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
            self.ask(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1,
                buttons=int(kind != "mouseReleased"),
            )  # fmt: skip
        self.settle()

    def screenshot(self, *, whole: bool = False) -> bytes:
        """The page as PNG; `whole` is all of its height."""
        params: dict[str, Any] = {"format": "png"}
        if whole:
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            params |= {"captureBeyondViewport": True, "clip": size | {"scale": 1}}
        return base64.b64decode(self.ask("Page.captureScreenshot", **params)["data"])

    def seen(self, method: str) -> list[dict[str, Any]]:
        """The parameters of all events of a name so far."""
        self.pipe.drain()
        mine = (e for e in self.pipe.events if e.get("sessionId") == self.session)
        return [event["params"] for event in mine if event.get("method") == method]


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the page did not come to it within {SECONDS:g} s")
        time.sleep(0.02)


@contextmanager
def open_browser(command: str) -> Iterator[Pipe]:
    """Start Chromium with a profile of its own; it ends with the block."""
    read_by_browser, to_browser = os.pipe()
    from_browser, written_by_browser = os.pipe()
    with tempfile.TemporaryDirectory(prefix="ganray-browser-", ignore_cleanup_errors=True) as home:
        process = subprocess.Popen(
            _through_shell([command, *FLAGS, f"--user-data-dir={home}", "about:blank"],
                           read_by_browser, written_by_browser),
            pass_fds=(read_by_browser, written_by_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read_by_browser)
        os.close(written_by_browser)
        try:
            yield Pipe(to_browser, from_browser)
        finally:
            process.kill()
            process.wait()
            os.close(to_browser)
            os.close(from_browser)


def _through_shell(command: Sequence[str], read: int, write: int) -> list[str]:
    """Chromium expects its pipe at the descriptors 3 and 4, which this process may use itself."""
    # Through high numbers, so that neither is overwritten before it is moved.
    moves = f'exec 198<&{read} 199>&{write}; exec 3<&198 4>&199; exec "$@"'
    return ["bash", "-c", moves, "bash", *command]


def new_tab(pipe: Pipe) -> Tab:
    """A page that tells of its requests, console messages and exceptions."""
    target = pipe.ask("Target.createTarget", url="about:blank")["targetId"]
    session = pipe.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    tab = Tab(pipe, session)
    for domain in ("Page", "Network", "Runtime", "Log"):
        tab.ask(f"{domain}.enable")
    return tab

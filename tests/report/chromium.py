"""A headless Chromium, spoken to over its debugging pipe: messages of the DevTools protocol, each ended by a zero byte.

It opens no port and reaches no network. Whoever waits for it waits at most WAIT seconds.
"""

import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FOUND = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT = 30.0
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)


class Chromium:
    """Chromium reads file descriptor 3 and writes 4, which a shell puts in their places."""

    def __init__(self, profile: Path) -> None:
        assert FOUND
        their_end, self._out = _pipe()
        self._in, their_other_end = _pipe()
        command = f'exec "$@" 3<&{their_end} 4>&{their_other_end}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, "bash", FOUND, *_OPTIONS, f"--user-data-dir={profile}"],
            pass_fds=(their_end, their_other_end),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_end)
        os.close(their_other_end)
        self._numbers = itertools.count(1)
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.ask("Browser.close")
            self._process.wait(WAIT)
        except (OSError, TimeoutError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait(WAIT)
        finally:
            os.close(self._out)
            os.close(self._in)

    def open(self, page: Path, scheme: str = "light", width: int = 1280) -> "Tab":
        return Tab(self, page, scheme, width)

    def ask(
        self, method: str, session: str | None = None, hear: Callable[[Any], None] = lambda _: None, **given: Any
    ) -> Any:
        """The answer; `hear` is told every event that comes before it."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": given, **({"sessionId": session} if session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + WAIT
        while True:
            told = self.next(deadline)
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]
            hear(told)

    def next(self, deadline: float) -> Any:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            if not ready or not (data := os.read(self._in, 1 << 16)):
                raise TimeoutError("Chromium does not answer")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Tab:
    """One page, loaded. What it complained about, and what it asked the network for, is kept."""

    def __init__(self, browser: Chromium, page: Path, scheme: str, width: int) -> None:
        self._browser = browser
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        self._loaded = False
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session: str = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self._loaded = False
        self.ask("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + WAIT
        while not self._loaded:
            self._hear(browser.next(deadline))

    def ask(self, method: str, **given: Any) -> Any:
        return self._browser.ask(method, self._session, self._hear, **given)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives, as a JSON value."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of the first element that the selector names."""
        x, y = self.middle_of(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def middle_of(self, selector: str) -> tuple[float, float]:
        """On the screen, where it is brought first."""
        x, y = self.value(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)});"
            "found.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return x, y

    def _hear(self, told: Any) -> None:
        if told.get("sessionId") != self._session:
            return
        method, given = told["method"], told["params"]
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.asked_for.append(given["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(given["exceptionDetails"]["text"])
        elif method == "Log.entryAdded":
            self.complaints.append(given["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning"):
            self.complaints.append(str(given["args"]))


def _pipe() -> tuple[int, int]:
    """(reading end, writing end), with numbers that no shell redirection below 10 meets."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]

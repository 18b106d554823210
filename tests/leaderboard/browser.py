"""Browser: a real Chromium without a window, told what to do over two pipes."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PATIENCE = 60.0  # s, for a machine that does much else
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    """Return the program: ``$CHROMIUM``, else one on the path, None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next((p for p in map(shutil.which, _NAMES) if p), None)


class Browser:
    """One page of a Chromium, over the DevTools protocol.

    Args:
        program: The browser.
        profile: An empty folder for its state.
    """

    def __init__(self, program: str, profile: Path) -> None:
        read_theirs, self._write = os.pipe()
        self._read, write_theirs = os.pipe()
        quiet = os.open(os.devnull, os.O_RDWR)
        words = [
            program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}",
            "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
        ]  # fmt: skip
        if os.getuid() == 0:  # its sandbox wants another user; the pages are our own
            words.append("--no-sandbox")
        # Copies beyond 9 first, so that neither pipe overwrites the other.
        ends = [fcntl.fcntl(e, fcntl.F_DUPFD_CLOEXEC, 10) for e in (read_theirs, write_theirs)]
        actions = [(os.POSIX_SPAWN_DUP2, quiet, 1), (os.POSIX_SPAWN_DUP2, quiet, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, ends[0], 3), (os.POSIX_SPAWN_DUP2, ends[1], 4)]
        self._process = os.posix_spawn(
            program, words, os.environ, file_actions=actions, setpgroup=0
        )
        for end in (read_theirs, write_theirs, quiet, *ends):
            os.close(end)
        self._buffer, self._numbers = b"", itertools.count(1)
        self.events: list[dict[str, Any]] = []
        target = self._ask("Target.createTarget", {"url": "about:blank"}, None)["targetId"]
        told = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True}, None)
        self._session = told["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **values: Any) -> dict[str, Any]:
        """Call a method of the protocol on the page."""
        return self._ask(method, values, self._session)

    def open(self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show a file, as wide and as light or dark as asked."""
        self.resize(width, height)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)
        self.events.clear()
        self.ask("Page.navigate", url=file.as_uri())
        until = time.monotonic() + _PATIENCE
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            self._take(until)

    def resize(self, width: int, height: int = 900) -> None:
        """Make the window as wide and high as asked, in CSS pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip

    def scripts(self, *, allowed: bool) -> None:
        """Let pages that are opened from now on run scripts, or not."""
        self.ask("Emulation.setScriptExecutionDisabled", value=not allowed)

    def run(self, script: str) -> Any:
        """Return what an expression of JavaScript gives, once a promise is kept."""
        told = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in told:
            raise AssertionError(told["exceptionDetails"])
        return told["result"].get("value")

    def press(self, key: str, *, text: str = "") -> None:
        """Press a key as a person does."""
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, " ": 32, "ArrowRight": 39, "ArrowLeft": 37}
        event = {"key": key, "windowsVirtualKeyCode": codes.get(key, ord(key[0]))}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **event, text=text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text: str) -> None:
        """Put text where the focus is, as an input method does."""
        self.ask("Input.insertText", text=text)

    def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def complaints(self) -> list[Mapping[str, Any]]:
        """Return what the page complained of since it was opened."""
        told = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [e for e in self.events if e["method"] in (*told, "Page.javascriptDialogOpening")]

    def requests(self) -> list[str]:
        """Return every address that was asked for since the page was opened."""
        sent = (e for e in self.events if e["method"] == "Network.requestWillBeSent")
        return [e["params"]["request"]["url"] for e in sent]

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """Write what the page looks like as a PNG."""
        told = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(told["data"]))

    def close(self) -> None:
        """End the browser and all its processes."""
        os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._write)
        os.close(self._read)

    def _ask(self, method: str, values: Mapping[str, Any], session: str | None) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": values}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + _PATIENCE
        while True:
            answer = self._take(until)
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _take(self, until: float) -> dict[str, Any]:
        """Return the next message; events are kept."""
        while b"\0" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._read], [], [], left)[0]:
                raise TimeoutError("the browser said nothing")
            got = os.read(self._read, 1 << 20)
            if not got:
                raise EOFError("the browser ended")
            self._buffer += got
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

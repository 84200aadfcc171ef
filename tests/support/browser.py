"""Chromium without a screen, driven over its debugging pipe (the Chrome DevTools Protocol): what a person does, and sees."""

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
# Where the browser is: not where the server's times are from.
ZONE = "Europe/Madrid"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Space": ("Space", 32, " "),
    "Escape": ("Escape", 27, ""),
}
_SECONDS = 30.0


class Browser:
    """One browser with one page. `log` holds what the page wrote to its console, faults and refusals of its policy."""

    def __init__(self, folder: Path, *, width: int = 1280, height: int = 900, scripts: bool = True) -> None:
        assert CHROMIUM is not None, "there is no Chromium"
        self.log: list[str] = []
        self._events: list[dict[str, Any]] = []
        self._buffer = b""
        self._number = 0
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={folder / 'chromium'}", f"--window-size={width},{height}"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *command, "about:blank"],
            pass_fds=(to_read, to_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "LANG": "en_US.UTF-8", "TZ": ZONE},
        )
        os.close(to_read)
        os.close(to_write)
        self._session: str | None = None
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        if not scripts:
            self.send("Emulation.setScriptExecutionDisabled", value=True)
        self.look(width=width, height=height)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for descriptor in (self._write, self._read):
            os.close(descriptor)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    # The protocol

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + _SECONDS
        while True:
            answer = self._receive(deadline)
            assert answer is not None, f"no answer to {method}"
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._take(answer)

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            piece = os.read(self._read, 1 << 20)
            assert piece, "the browser has ended"
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _take(self, event: dict[str, Any]) -> None:
        match event.get("method"):
            case "Log.entryAdded":
                entry = event["params"]["entry"]
                self.log.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
            case "Runtime.exceptionThrown":
                self.log.append(f"exception: {event['params']['exceptionDetails']}")
            case "Runtime.consoleAPICalled":
                self.log.append(f"console: {event['params']['args']}")
        self._events.append(event)

    def _wait_event(self, method: str, seconds: float = _SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while True:
            for i, event in enumerate(self._events):
                if event.get("method") == method:
                    del self._events[: i + 1]
                    return
            found = self._receive(deadline)
            assert found is not None, f"no {method} in {seconds} s"
            self._take(found)

    # What a person does

    def open(self, url: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self._events.clear()
        self.send("Page.navigate", url=url)
        self._wait_event("Page.loadEventFired")

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False, phone: bool = False) -> None:
        """The size and the colours of the screen, and whether motion is unwelcome."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.send(
            "Emulation.setEmulatedMedia",
            features=[
                {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ],
        )

    def press(self, key: str, *, shift: bool = False) -> None:
        """A key, by its name."""
        code, number, text = _KEYS[key]
        common = {"key": " " if key == "Space" else key, "code": code, "windowsVirtualKeyCode": number}
        modifiers = 8 if shift else 0
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, modifiers=modifiers, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **common)

    def type(self, text: str) -> None:
        """Text, where the focus is."""
        self.send("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """The middle of the first element that fits, scrolled into view."""
        point = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        assert point, f"there is no {selector}"
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=point[0], y=point[1], button="left", clickCount=1)

    # What it sees

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, f"{script}: {found['exceptionDetails']}"
        return found["result"].get("value")

    def text(self, selector: str = "body") -> str:
        """What is to be read in an element, as it is shown."""
        return str(self.run(f"(document.querySelector({json.dumps(selector)}) || {{}}).innerText || ''"))

    def wait_for(self, script: str, seconds: float, what: str) -> Any:
        """The first true value of an expression, which may be asked while the page changes."""
        deadline = time.monotonic() + seconds
        seen: Any = None
        while time.monotonic() < deadline:
            try:
                seen = self.run(script)
            except AssertionError as fault:  # the page was being replaced
                seen = fault
            else:
                if seen:
                    return seen
            self._receive_for(0.05)
        raise AssertionError(f"not within {seconds:g} s: {what} (last seen: {seen!r}; {self.text()[:2000]})")

    def _receive_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (event := self._receive(deadline)) is not None:
            self._take(event)

    def tree(self) -> list[tuple[str, str]]:
        """The accessibility tree as a screen reader has it: (role, name) of all that is not ignored, in reading order."""
        nodes = self.send("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and "role" in node
        ]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """The screen, or with `whole` all of the page, as a PNG."""
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

"""A headless Chromium, driven by its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/)."""

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
STARTS = 60.0
"""Seconds that the browser may take to start, and a page to become what is waited for."""


class Tab:
    """One page. ``problems``: what its scripts threw, and what was refused or not found."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.problems: list[str] = []
        self._socket = socket
        self._numbers = itertools.count()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = json.loads((await self._socket.receive()).data)
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.problems.append(json.dumps(message["params"])[:500])
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]

    async def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str) -> None:
        deadline = time.monotonic() + STARTS
        while not await self.run(script):
            assert time.monotonic() < deadline, (script, self.problems)
            await asyncio.sleep(0.05)

    async def type(self, text: str) -> None:
        """Into the message field, as a person does, then Enter."""
        await self.run("document.getElementById('text').focus()")
        await self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )

    async def screenshot(self, file: Path, width: int, height: int, dark: bool = False) -> None:
        phone = width < 600
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await asyncio.sleep(0.3)
        file.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot"))["data"]))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Tab]:
    """A browser that shows ``url``."""
    assert CHROMIUM
    with tempfile.TemporaryDirectory(prefix="chromium_", ignore_cleanup_errors=True) as folder:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        process = subprocess.Popen(
            [CHROMIUM, *options, f"--user-data-dir={folder}", url], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            port = Path(folder) / "DevToolsActivePort"
            async with asyncio.timeout(STARTS), aiohttp.ClientSession() as session:
                while not (port.is_file() and port.read_text().strip()):
                    await asyncio.sleep(0.05)
                place = f"http://127.0.0.1:{port.read_text().split()[0]}/json"
                pages: list[dict[str, str]] = []
                while not pages:
                    async with session.get(place) as response:
                        pages = [page for page in await response.json() if page["type"] == "page"]
            async with aiohttp.ClientSession() as session:
                socket = await session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0)
                tab = Tab(socket)
                for domain in ("Page", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                await tab.until("document.readyState === 'complete' && location.href !== 'about:blank'")
                yield tab
        finally:
            process.terminate()
            process.wait(30)


async def talk(tab: Tab, questions: list[str]) -> list[str]:
    """Ask one question after another on the page. Returns the answers, or the errors in their place."""
    await tab.until("document.getElementById('facts').textContent !== ''")
    for number, question in enumerate(questions, start=1):
        await tab.type(question)
        done = "document.querySelectorAll('.assistant:not(.writing)').length"
        await tab.until(f"{done} === {number} && document.getElementById('send').textContent === 'Send'")
    answers: list[str] = await tab.run("[...document.querySelectorAll('.assistant p')].map(p => p.textContent)")
    return answers

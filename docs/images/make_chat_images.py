"""Makes the pictures of the page of ``pedigree serve``: ``python -m docs.images.make_chat_images URL``.

Needs Chromium, and a server of a finished run of ``tiny`` at URL: ``pedigree serve tiny``.
"""

import asyncio
import sys
from pathlib import Path

from PIL import Image

from tests.serve.browser import opened, talk

HERE = Path(__file__).parent
QUESTIONS = ["How do I open a file?", "And how do I close it?", "Show me an example."]
SETTINGS = {"temperature": 0.5, "max_tokens": 48, "seed": 7, "repetition_penalty": 1.1}


async def main(url: str) -> None:
    async with opened(url) as tab:
        for name, value in SETTINGS.items():
            await tab.run(f"document.getElementById('settings').elements.{name}.value = {value}")
        for answer in await talk(tab, QUESTIONS):
            print(repr(answer))
        await tab.screenshot(HERE / "chat_phone.png", 390, 780, dark=True)
        await tab.run("document.getElementById('toggle').click()")
        await tab.screenshot(HERE / "chat.png", 1000, 1080)
        for name in ("chat", "chat_phone"):
            file = HERE / f"{name}.png"
            Image.open(file).convert("RGB").quantize(64).save(file, optimize=True)
        print(*tab.problems, sep="\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

"""Makes the pictures of the page of ``pedigree serve``: ``python -m docs.images.make_chat_images URL``.

Needs Chromium, and a server of a finished run of ``tiny`` with short passages at URL. Its YAML:

    extends: tiny
    name: tiny
    retrieval: {passage_characters: 300}
"""

import asyncio
import sys
from pathlib import Path

from PIL import Image

from tests.serve.browser import opened, talk

HERE = Path(__file__).parent
QUESTIONS = ["How do I open a file?", "And how do I close it?", "Show me an example of a tuple."]
SETTINGS = {"temperature": 0.5, "max_tokens": 40, "seed": 7, "repetition_penalty": 1.1, "retrieve": 2}


async def main(url: str) -> None:
    async with opened(url) as tab:
        for name, value in SETTINGS.items():
            await tab.run(f"document.getElementById('settings').elements.{name}.value = {value}")
        await tab.screenshot(HERE / "chat.png", 1280, 1080)  # the first passage is open where there is room for it
        await tab.run("document.getElementById('documents').click()")
        for answer in await talk(tab, QUESTIONS):
            print(repr(answer))
        await tab.run("document.getElementById('toggle').click()")
        await tab.run("document.getElementById('chat').scrollTop = 0")
        await tab.screenshot(HERE / "chat.png", 1280, 1240)
        await tab.run("document.getElementById('toggle').click()")
        await tab.run("[...document.querySelectorAll('aside details')].forEach((passage) => { passage.open = false; })")
        await tab.screenshot(HERE / "chat_phone.png", 390, 780, dark=True)
        for name in ("chat", "chat_phone"):
            file = HERE / f"{name}.png"
            Image.open(file).convert("RGB").quantize(64).save(file, optimize=True)
        print(*tab.problems, sep="\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

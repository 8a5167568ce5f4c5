"""The page, in a real browser."""

import asyncio

import pytest

from tests.serve.browser import CHROMIUM, opened, talk

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


def test_a_conversation_of_three_turns(live) -> None:
    """What people and models write is text. A setting that is not valid is told; too long a conversation, too."""

    async def conversation() -> None:
        async with opened(live.url) as tab:
            await tab.run("document.forms.settings.elements.max_tokens.value = 8")
            assert all(await talk(tab, ["hi", "<b>two</b>", "three"]))
            assert await tab.run("document.querySelectorAll('.wrong').length") == 0
            shown = await tab.run("[...document.querySelectorAll('.user p')].map(p => p.textContent)")
            assert shown == ["hi", "<b>two</b>", "three"]
            assert await tab.run("document.querySelectorAll('b').length") == 0
            assert "tokens per second" in await tab.run("document.querySelector('.assistant small').textContent")
            assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
            await tab.type("long " * 100)
            await tab.until("document.querySelectorAll('.wrong').length === 1")
            assert "shorten it" in await tab.run("document.querySelector('.wrong p').textContent")
            await tab.run("document.getElementById('new').click()")
            assert await tab.run("document.querySelectorAll('article').length") == 0
            assert [problem for problem in tab.problems if "400 (Bad Request)" not in problem] == []

    asyncio.run(conversation())

"""The page, in a real browser."""

import asyncio

import pytest

from tests.serve.browser import CHROMIUM, opened, talk
from tests.serve.conftest import running
from tests.serve.test_documents import TEXTS, URLS, cited  # noqa: F401
from tests.serve.test_engine import Slow

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


def test_a_new_chat_while_an_answer_is_written_begins_empty(served) -> None:
    slow = Slow(served.model)

    async def conversation(url: str) -> None:
        async with opened(url) as tab:
            await tab.run("document.forms.settings.elements.max_tokens.value = 60")
            await tab.until("document.getElementById('facts').textContent !== ''")
            slow.let(12)
            await tab.type("first")
            await tab.until("document.querySelector('.assistant p')?.textContent.trim()")
            await tab.run("document.getElementById('new').click()")
            assert await tab.run("document.getElementById('send').textContent") == "Send"
            slow.release()
            await tab.run("document.forms.settings.elements.max_tokens.value = 8")
            (answer,) = await talk(tab, ["second"])
            roles = await tab.run("messages.map(message => message.role + ' ' + message.content)")
            assert [role.strip() for role in roles] == ["user second", f"assistant {answer}".strip()]
            assert tab.problems == []

    try:
        with running(served) as server:
            asyncio.run(conversation(server.url))
    finally:
        slow.release()
        served.model._forward_pre_hooks.clear()


def test_passages_stand_beside_the_answer_as_text(cited) -> None:  # noqa: F811
    """Only while the switch is on. Addresses are links only if they lead to the web."""

    async def conversation(url: str) -> None:
        async with opened(url) as tab:
            await tab.run("document.forms.settings.elements.max_tokens.value = 8")
            await tab.until("document.getElementById('switch').offsetHeight > 0")
            assert "not trained on the documents" in await tab.run("document.getElementById('note').textContent")
            await talk(tab, ["Which number follows 7?"])
            assert await tab.run("document.querySelectorAll('aside').length") == 0
            await tab.run("document.getElementById('documents').click()")
            await tab.run("document.getElementById('new').click()")
            await talk(tab, ["Which number follows 7?", "xyzzy"])
            shown = await tab.run("[...document.querySelectorAll('blockquote')].map(text => text.textContent)")
            assert shown == [TEXTS["seven"], TEXTS["markup"]]
            assert await tab.run("[...document.querySelectorAll('aside a')].map(a => a.textContent)") == URLS[:1]
            assert await tab.run("document.querySelectorAll('main script').length") == 0
            assert "No passage shares a word" in await tab.run("document.querySelectorAll('aside')[1].textContent")
            assert await tab.run("document.documentElement.scrollWidth <= innerWidth")
            assert tab.problems == []

    with running(cited) as server:
        asyncio.run(conversation(server.url))

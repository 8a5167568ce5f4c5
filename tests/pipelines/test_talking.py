"""``pedigree sample``, ``chat`` and ``serve`` on a model that was trained and is in the store."""

import socket

import pytest
from typer.testing import CliRunner

from pipelines import talking
from pipelines.cli import app
from pipelines.session import open_session


@pytest.fixture
def micro(finished) -> tuple[str, str]:
    return "-e", str(finished.experiment)


def refused(finished, *arguments: str) -> str:
    asked = finished.asked(*arguments)
    assert asked.exit_code == 1
    assert "Traceback" not in asked.stderr
    return asked.stderr


def test_a_sample_is_the_same_for_the_same_seed(finished, micro) -> None:
    drawn = [
        finished.pedigree("sample", "The river", *micro, "--seed", seed, "--max-tokens", "12", "--temperature", "1.5")
        for seed in ("1", "2")
    ]
    assert drawn[0] != drawn[1]
    words = drawn[0].strip()
    cut = (
        "sample",
        "The river",
        *micro,
        "--seed",
        "1",
        "--max-tokens",
        "12",
        "--temperature",
        "1.5",
        "--stop",
        words[3:5],
    )
    assert finished.pedigree(*cut).rstrip("\n") == drawn[0][: drawn[0].index(words[3:5])].rstrip("\n")


def test_what_a_sample_can_not_be_is_told(finished, micro) -> None:
    assert "the model reads 32 with the answer" in refused(finished, "sample", "river " * 40, *micro)
    assert "lower max_tokens" in refused(finished, "sample", "The river", *micro, "--max-tokens", "100")
    assert "no model 'tokenizer'" in refused(finished, "sample", "a", *micro, "--stage", "tokenizer")
    few = ("sample", "a", *micro, "--max-tokens", "2")
    assert "--temperature: -1.0 is not valid" in refused(finished, *few, "--temperature", "-1")
    assert "--temperature: nan is not valid" in refused(finished, *few, "--temperature", "nan")
    assert "--top-k: 0 is not valid" in refused(finished, *few, "--top-k", "0")
    assert "--stop is empty" in refused(finished, *few, "--stop", "")
    assert "--repetition-penalty: 1e-40 is not valid: give 0.1 to 10" in refused(
        finished, *few, "--repetition-penalty", "1e-40"
    )
    bytes_ = "\udcff\udcfe hi"  # how Python reads arguments that are no UTF-8
    assert "the prompt: character 1 is no text ('\\udcff')" in refused(finished, "sample", bytes_, *micro)
    assert "--stop: character 1 is no text" in refused(finished, *few, "--stop", bytes_)
    chat = ("chat", str(finished.experiment), "--system", bytes_)
    assert "--system: character 1 is no text" in refused(finished, *chat)


def test_a_conversation_in_the_terminal(finished) -> None:
    """The last question is too long for the context; the next conversation begins again."""
    lines = [b"The river", b"", b"word " * 40, b"\xff", b"/new", b"Stone", b"/quit", b"never"]
    options = ("--max-tokens", "4", "--seed", "1")
    asked = CliRunner().invoke(
        app, ["chat", str(finished.experiment), *options], input=b"\n".join(lines), env=finished.environment
    )
    assert asked.exit_code == 0, asked.stderr + asked.stdout
    assert asked.stdout.count("\n> ") == 7
    assert "This is a base model" in asked.stdout
    assert asked.stdout.count("error: ") == 2
    assert "half of a surrogate pair" in asked.stdout
    assert "/new begins a new conversation" in asked.stdout


def test_what_the_terminal_and_the_server_answer_is_equal(finished) -> None:
    from llm_core.model.generate import Sampling
    from llm_core.serve.engine import Engine
    from tests.serve.test_engine import Asked

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", finished.environment["PEDIGREE_HOME"])
        served = talking.open_served(open_session(str(finished.experiment)), "pretrained_model", print)
    prompt = served.chat.prompt([{"role": "user", "content": "The river"}])
    terminal = "".join(talking.texts(served, prompt, talking.Choice(max_tokens=9, temperature=1.2, seed=5)))
    engine, asked = Engine(served.model), Asked(prompt, Sampling(9, 1.2, stop=((served.template.eot,),)), seed=5)
    asked.request.text = served.text()
    engine.submit(asked.request)
    assert asked.answer()[0] == terminal
    engine.close()


def test_a_port_in_use_is_told(finished) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        told = refused(finished, "serve", str(finished.experiment), "--port", port)
    assert f"port {port} of 127.0.0.1 can't be used (Address already in use)" in told
    assert "--port" in told
    assert "--host nowhere.invalid" in refused(finished, "serve", str(finished.experiment), "--host", "nowhere.invalid")

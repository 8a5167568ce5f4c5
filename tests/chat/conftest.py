import pytest

from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.learn import train_tokenizer
from tests.chat.stages import PERSONA, encode, lines, read, source, talks

TEXTS = [f"User: which number follows {number}?\nAssistant: {number + 1} follows {number}.\n" for number in range(300)]
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def trained(folder, special_tokens):
    path = folder / "tokenizer.json"
    train_tokenizer(TEXTS, TokenizerSpec(vocab_size=300, special_tokens=special_tokens)).save(str(path))
    return path


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """Its only control token is the end of text."""
    return trained(tmp_path_factory.mktemp("plain_tokenizer"), CONTROL[:1])


@pytest.fixture(scope="session")
def chat_tokenizer(tmp_path_factory):
    """It has the control tokens of ChatML, too."""
    return trained(tmp_path_factory.mktemp("chat_tokenizer"), CONTROL)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    """Digests of source files are remembered there, and never in the checkout."""
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "pedigree"))


@pytest.fixture(scope="session")
def made(tmp_path_factory, tokenizer):
    """120 conversations and a persona: the folders of both stages, and the results of the second."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEDIGREE_HOME", str(folder / "pedigree"))
        talking = source(lines(folder / "talks.jsonl", talks(120)))
        read(folder / "read", talking, persona=PERSONA)
        stats = encode(folder / "encoded", folder / "read" / "out", tokenizer, persona=PERSONA)
    return folder / "read" / "out", folder / "encoded" / "out", stats
